import { randomBytes, randomUUID } from 'node:crypto';
import type { AppProcess } from '../support/app-process.js';
import type { History, Intent } from '../support/history.js';
import type { Instance } from './instance.js';
import type { Random } from './random.js';

/** What customers pay with, and how often; the gateway's every behaviour is among them. */
export const TOKENS = {
  tok_ok: 40,
  tok_declined: 8,
  tok_flaky: 10,
  tok_slow: 5,
  tok_timeout: 2,
  tok_lost_response: 10,
  tok_broken: 4,
  tok_unheard_of: 4,
};
export const SKUS = { widget: 1_000_000, gadget: 1_000_000, scarce: 25 };
const SHORT_TIMEOUT_MS = [30, 150, 500, 1500] as const;
const LONG_TIMEOUT_MS = 8000;
const TRIES = 4;

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Customers who order, ask again, lose patience and change their minds, at instances of their choice. */
export class Load {
  private readonly clients: Promise<void>[] = [];
  private readonly late = new Set<Promise<void>>();
  private stopped = false;

  constructor(
    private readonly history: History,
    private readonly instances: readonly Instance[],
    /** Must appear in no log. */
    private readonly note: string,
    private readonly tokens: Readonly<Record<string, number>> = TOKENS,
  ) {}

  start(random: Random, clients: number): void {
    for (let n = 0; n < clients; n++) this.clients.push(this.live(random.fork()));
  }

  /** Nobody begins anything new; resolves when what was begun has ended. */
  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.clients);
    await Promise.all(this.late);
  }

  private async live(random: Random): Promise<void> {
    while (!this.stopped) {
      await this.order(random.fork());
      await pause(random.between(50, 900));
    }
  }

  private async order(random: Random): Promise<void> {
    const token = random.weighted(this.tokens) + (random.chance(0.5) ? `_${random.between(1, 999)}` : '');
    const skus = random.chance(0.15) ? ['scarce', 'widget'] : [random.pick(['widget', 'gadget'])];
    if (random.chance(0.02)) skus.push('nothing-of-ours');
    const intent = this.history.intend({
      customerId: randomUUID(),
      paymentToken: token,
      items: skus.map((sku) => ({ sku, quantity: random.between(1, 3) })),
      traceId: randomBytes(16).toString('hex'),
      ...(random.chance(0.6) && { idempotencyKey: randomUUID() }),
    });
    const ids = await this.place(intent, random);
    const id = ids[0];
    if (id === undefined || !random.chance(0.25)) return;
    const cancelling = this.cancel(id, random, random.pick([0, 5, 50, 300, 1500, 4000])).finally(() => this.late.delete(cancelling));
    this.late.add(cancelling);
  }

  /** Posts the order, with a key perhaps several times; answers the ids that came back. */
  private async place(intent: Intent, random: Random): Promise<string[]> {
    const post = (timeoutMs: number): Promise<{ outcome: string; orderId?: string }> => {
      const { customerId, items, paymentToken, idempotencyKey, traceId } = intent;
      return this.history.record('place', customerId, () =>
        this.ask(random, timeoutMs, {
          method: 'POST',
          path: '/orders',
          body: { customerId, items, paymentToken, note: this.note },
          headers: {
            traceparent: `00-${traceId}-${randomBytes(8).toString('hex')}-01`,
            ...(idempotencyKey !== undefined && { 'idempotency-key': idempotencyKey }),
          },
        }),
      );
    };
    const patience = (): number => (random.chance(0.12) ? random.pick(SHORT_TIMEOUT_MS) : LONG_TIMEOUT_MS);
    const answers = [];
    if (intent.idempotencyKey !== undefined && random.chance(0.3)) {
      answers.push(...(await Promise.all(Array.from({ length: random.between(2, 3) }, () => post(patience())))));
    } else answers.push(await post(patience()));
    if (intent.idempotencyKey !== undefined) {
      // Who has a key asks until it is sure; some ask once more for no reason.
      for (let tries = 0; tries < TRIES && !answers.some(({ outcome }) => outcome === 'ok'); tries++) {
        await pause(random.between(50, 500));
        answers.push(await post(LONG_TIMEOUT_MS));
      }
      if (random.chance(0.2)) answers.push(await post(LONG_TIMEOUT_MS));
    }
    return answers.flatMap(({ orderId }) => orderId ?? []);
  }

  private async cancel(id: string, random: Random, afterMs: number): Promise<void> {
    await pause(afterMs);
    await this.history.record('cancel', id, () => this.ask(random, LONG_TIMEOUT_MS, { method: 'POST', path: `/orders/${id}/cancel` }));
  }

  /** Asks any instance that runs, frozen or not. */
  private async ask(random: Random, timeoutMs: number, asked: Asked): Promise<{ status: number; body?: unknown }> {
    let running: AppProcess[] = [];
    while ((running = this.instances.flatMap(({ app }) => app ?? [])).length === 0) await pause(20);
    return request(random.pick(running), timeoutMs, asked);
  }
}

/** One request of a client that has only so much patience. */
export async function request(app: AppProcess, timeoutMs: number, asked: Asked): Promise<{ status: number; body?: unknown }> {
  const { method, path, body, headers } = asked;
  const response = await fetch(app.url + path, {
    method,
    headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(timeoutMs),
  });
  const text = await response.text();
  return { status: response.status, ...(text !== '' && { body: JSON.parse(text) as unknown }) };
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
