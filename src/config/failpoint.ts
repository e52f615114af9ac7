/** The places where tests can end or stop the process; nothing in production. */
export const FAILPOINTS = [
  'order.beforeCommit',
  'order.afterCommit',
  'relay.afterRead',
  'relay.afterPublish',
  'relay.beforeDelete',
  'consumer.beforeCommit',
  'consumer.afterCommit',
  'consumer.beforeAck',
  'park.afterWrite',
  'deadLetter.afterWrite',
  'replay.afterWrite',
] as const;
export type Failpoint = (typeof FAILPOINTS)[number];

let armed: { name: string; action: 'exit' | 'kill'; hits: number } | undefined;

/** `name`, `name:exit`, `name:kill`, each optionally with `@n` for the n-th time it is passed. */
export function armFailpoint(failAt: string | undefined): void {
  const match = /^([A-Za-z.]+)(?::(exit|kill))?(?:@(\d+))?$/.exec(failAt ?? '');
  armed = match ? { name: match[1] as string, action: (match[2] ?? 'kill') as 'exit' | 'kill', hits: Number(match[3] ?? 1) } : undefined;
}

/** Whether FAIL_AT names this place, for what has to be found out before it is passed. */
export function isArmed(name: Failpoint): boolean {
  return armed?.name === name;
}

/** Ends the process here when FAIL_AT names this place; never resolves then. */
export function failpoint(name: Failpoint): Promise<void> | void {
  if (armed?.name !== name || --armed.hits > 0) return;
  process.stderr.write(`failpoint ${name}\n`);
  if (armed.action === 'exit') process.exit(70);
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => undefined);
}
