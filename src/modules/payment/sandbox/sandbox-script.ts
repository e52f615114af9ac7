/** What the sandbox does with one call to charge. */
export interface Step {
  /** Whether the money is taken; before anything is answered. */
  readonly books: boolean;
  readonly answer: 'captured' | 'declined' | 'server error' | 'connection lost' | 'silence';
  readonly afterMs: number;
}

const CAPTURED: Step = { books: true, answer: 'captured', afterMs: 0 };
const DECLINED: Step = { books: false, answer: 'declined', afterMs: 0 };
const FAILED: Step = { books: false, answer: 'server error', afterMs: 0 };
const FLAKY_FAILURES = 2;
const SLOW_MS = 3000;

const SCRIPTS: Readonly<Record<string, (call: number) => Step>> = {
  ok: () => CAPTURED,
  declined: () => DECLINED,
  flaky: (call) => (call <= FLAKY_FAILURES ? FAILED : CAPTURED),
  slow: () => ({ ...CAPTURED, afterMs: SLOW_MS }),
  timeout: () => ({ books: false, answer: 'silence', afterMs: 0 }),
  lost_response: (call) => (call === 1 ? { ...CAPTURED, answer: 'connection lost' } : CAPTURED),
  broken: () => FAILED,
};

const TOKEN = /^tok_(ok|declined|flaky|slow|timeout|lost_response|broken)(?:_.*)?$/s;

/** What the sandbox does at the n-th call (from 1) of an idempotency key with this token; it declines a token it does not know. */
export function stepOf(token: string, call: number): Step {
  const script = SCRIPTS[TOKEN.exec(token)?.[1] ?? 'declined'];
  return script ? script(call) : DECLINED;
}
