import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { Money } from '../../src/http/money.js';
import { AlreadyHandledError } from '../../src/messaging/consumer/attempt.js';
import type { ConsumeContext } from '../../src/messaging/index.js';
import { StockReserved } from '../../src/modules/inventory/inventory.events.js';
import { OrderCancelled } from '../../src/modules/order/order.events.js';
import { GatewayUnavailableError, type PaymentGateway } from '../../src/modules/payment/payment-gateway.js';
import { PaymentService } from '../../src/modules/payment/payment.service.js';
import { SandboxLedger } from '../../src/modules/payment/sandbox/sandbox-ledger.js';
import { stopServers } from '../support/brokers-under-test.js';
import { everyChoice, Interleaving } from '../support/interleaving.js';
import { Shop } from '../support/shop.js';

let shop: Shop;

beforeAll(async () => {
  shop = await Shop.open();
});

afterAll(async () => {
  await shop.close();
  await stopServers();
});

const total = Money.of(2930n, 'EUR');
const never = new AbortController().signal;

interface Event<E> {
  readonly id: string;
  readonly data: E;
}

const reserved = (orderId: string, paymentToken: string): Event<StockReserved> => ({
  id: randomUUID(),
  data: StockReserved.of({ orderId, total, paymentToken }),
});
const cancelled = (orderId: string): Event<OrderCancelled> => ({
  id: randomUUID(),
  data: OrderCancelled.of({ orderId, customerId: randomUUID(), reason: 'requested', total }),
});

/** A payment service whose every step outside of a transaction begins at a point of the interleaving. */
function steppedPayments(point: () => Promise<void>): PaymentService {
  const stepped = <T extends object>(target: T, methods: readonly string[]): T =>
    new Proxy(target, {
      get: (object, name) => {
        const member: unknown = Reflect.get(object, name, object);
        if (typeof member !== 'function') return member;
        return async (...values: unknown[]) => {
          if (methods.includes(String(name))) await point();
          return (member as (...values: unknown[]) => unknown).apply(object, values);
        };
      },
    });
  const { prisma } = shop.database;
  const steppedPrisma = {
    $queryRaw: async (...values: Parameters<typeof prisma.$queryRaw>) => {
      await point();
      return prisma.$queryRaw(...values);
    },
    paymentGuard: stepped(prisma.paymentGuard, ['findUnique']),
  };
  const gateway: PaymentGateway = stepped(shop.sandbox, ['charge', 'refund', 'findCharge']);
  const transaction = async <T>(work: (tx: never) => Promise<T>): Promise<T> => {
    await point();
    return shop.database.transaction(work as never);
  };
  return new PaymentService({ prisma: steppedPrisma, transaction } as never, shop.outbox, gateway);
}

/** One attempt at an event, as the runner makes it; false when the event had been handled before. */
async function attempt<E>(
  event: Event<E>,
  handle: (data: E, context: ConsumeContext) => Promise<void>,
  point: () => Promise<void> = () => Promise.resolve(),
): Promise<boolean> {
  let used = false;
  let duplicate = false;
  const context: ConsumeContext = {
    group: 'payment',
    attempt: 1,
    signal: never,
    idempotencyKey: `payment:${event.id}`,
    once: async (work) => {
      await point();
      used = true;
      return shop.database.transaction((tx) => {
        shop.inbox.markAhead(tx, 'payment', [event.id], () => {
          duplicate = true;
          throw new AlreadyHandledError();
        });
        return work(tx);
      });
    },
  };
  try {
    await handle(event.data, context);
    if (!used) await shop.inbox.markNow('payment', [event.id]);
    return true;
  } catch (error) {
    if (duplicate) return false;
    throw error;
  }
}

/** Redelivers an event until it is handled, or for so many attempts; whether it was. */
async function redeliver<E>(event: Event<E>, handle: (data: E, context: ConsumeContext) => Promise<void>, attempts = 4): Promise<boolean> {
  for (let n = 0; n < attempts; n++) {
    if (await shop.inbox.has('payment', event.id)) return true;
    await attempt(event, handle).catch(ignoreGateway);
  }
  return shop.inbox.has('payment', event.id);
}

const capture = (data: StockReserved, context: ConsumeContext): Promise<void> => shop.payments.capture(data, context);
const refund = (data: OrderCancelled): Promise<void> => shop.payments.refund(data);

function ignoreGateway(error: unknown): void {
  if (!(error instanceof GatewayUnavailableError)) throw error;
}

interface Books {
  readonly charges: number;
  readonly refunds: number;
  readonly kept: number;
  readonly payments: readonly { status: string; amount: number; gatewayReference: string | null }[];
  readonly events: readonly string[];
}

/** All that an order has cost so far, by the gateway's books and by ours. Takes the events out of the outbox. */
async function booksOf(orderId: string): Promise<Books> {
  const ledger = (await new SandboxLedger(shop.database).list({ orderId, limit: 100 })).items;
  const sum = (kind: string): number =>
    ledger.filter((entry) => entry.kind === kind).reduce((amount, entry) => amount + entry.amount.amount, 0);
  const references = new Set(ledger.map(({ reference }) => reference));
  expect(references.size).toBeLessThanOrEqual(1);
  const payments = (await shop.payments.list({ orderId, limit: 50 })).items;
  return {
    charges: ledger.filter(({ kind }) => kind === 'charge').length,
    refunds: ledger.filter(({ kind }) => kind === 'refund').length,
    kept: sum('charge') - sum('refund'),
    payments: payments.map(({ status, amount, gatewayReference }) => ({ status, amount: amount.amount, gatewayReference })),
    events: (await shop.published()).map(({ envelope }) => envelope.type.replace('commerce.payment.', '')),
  };
}

/** A cancelled order keeps no money, was charged at most once, and its payment says what the gateway's books say. */
async function expectNothingKept(orderId: string): Promise<Books> {
  const books = await booksOf(orderId);
  const { charges, refunds, kept, payments, events } = books;
  expect({ charges, refunds, kept }).toEqual({ charges: refunds, refunds, kept: 0 });
  expect(charges).toBeLessThanOrEqual(1);
  expect(payments.filter(({ status }) => status !== 'declined')).toEqual(
    charges === 0 ? [] : [{ status: 'refunded', amount: total.amount, gatewayReference: expect.any(String) as string }],
  );
  expect(events.filter((type) => type === 'refunded')).toHaveLength(charges);
  return books;
}

describe("the sandbox gateway's tokens", () => {
  it.each([
    ['tok_ok', 0, 'captured'],
    ['tok_ok_4242', 0, 'captured'],
    ['tok_declined', 0, 'declined'],
    ['tok_whatever', 0, 'declined'],
    ['tok_flaky', 2, 'captured'],
    ['tok_lost_response', 1, 'captured'],
    ['tok_slow', 0, 'captured'],
  ])('%s fails %d times and ends %s', async (token, failures, ends) => {
    const orderId = randomUUID();
    const event = reserved(orderId, token);
    for (let n = 0; n < failures; n++) {
      const error = await attempt(event, capture).then(
        () => undefined,
        (failure: unknown) => failure,
      );
      expect(error).toBeInstanceOf(GatewayUnavailableError);
      expect((error as Error).message).not.toContain('tok_');
      expect(await booksOf(orderId)).toMatchObject({ payments: [], events: [] });
    }
    await attempt(event, capture);
    const charges = ends === 'captured' ? 1 : 0;
    expect(await booksOf(orderId)).toEqual({
      charges,
      refunds: 0,
      kept: charges * total.amount,
      payments: [{ status: ends, amount: total.amount, gatewayReference: charges ? (expect.stringMatching(/^ch_/) as string) : null }],
      events: [ends],
    });
  });

  it('tok_slow charges when it starts; only the answer is slow', async () => {
    const orderId = randomUUID();
    const stop = new AbortController();
    const charging = shop.sandbox.charge({ idempotencyKey: orderId, orderId, amount: total, token: 'tok_slow', signal: stop.signal });
    charging.catch(() => undefined); // looked at below
    while ((await shop.sandbox.findCharge(orderId, never)) === null) await new Promise(setImmediate);
    stop.abort(new Error('out of time'));
    await expect(charging).rejects.toThrow(GatewayUnavailableError);
  });

  it('tok_timeout never answers and never charges', async () => {
    const orderId = randomUUID();
    const stop = new AbortController();
    const charging = shop.sandbox.charge({ idempotencyKey: orderId, orderId, amount: total, token: 'tok_timeout', signal: stop.signal });
    let answered = false;
    charging.catch(() => undefined).finally(() => (answered = true));
    await shop.sandbox.charge({ idempotencyKey: randomUUID(), orderId: randomUUID(), amount: total, token: 'tok_ok', signal: never });
    expect(answered).toBe(false);
    stop.abort(new Error('out of time'));
    await expect(charging).rejects.toThrow(GatewayUnavailableError);
    expect(await shop.sandbox.findCharge(orderId, never)).toBeNull();
  });

  it('tok_broken fails at every attempt, and an edited replay with another token ends the order as that token says', async () => {
    for (const [token, ends] of [
      ['tok_ok', 'captured'],
      ['tok_declined', 'declined'],
    ] as const) {
      const orderId = randomUUID();
      const event = reserved(orderId, 'tok_broken');
      expect(await redeliver(event, capture, 5)).toBe(false);
      expect(await redeliver(reserved(orderId, token), capture)).toBe(true);
      expect(await booksOf(orderId)).toMatchObject({
        payments: [{ status: ends }],
        events: [ends],
        kept: ends === 'captured' ? total.amount : 0,
      });
    }
  });

  it('C14, I5: charges once per idempotency key, whoever calls how often, also at once', async () => {
    const orderId = randomUUID();
    const request = { idempotencyKey: randomUUID(), orderId, amount: total, token: 'tok_ok', signal: never };
    const results = await Promise.all(Array.from({ length: 20 }, () => shop.sandbox.charge(request)));
    expect(new Set(results.map((result) => (result.status === 'captured' ? result.reference : ''))).size).toBe(1);
    const { reference } = results[0] as { reference: string };
    await Promise.all(
      Array.from({ length: 10 }, () =>
        shop.sandbox.refund({ idempotencyKey: `refund:${reference}`, orderId, reference, amount: total, signal: never }),
      ),
    );
    expect(await booksOf(orderId)).toMatchObject({ charges: 1, refunds: 1, kept: 0 });
    expect(await shop.sandbox.findCharge(orderId, never)).toEqual({ reference, amount: total, refunded: true });
  });

  it('refuses to give back what was never charged', async () => {
    const orderId = randomUUID();
    await expect(shop.sandbox.refund({ idempotencyKey: 'x', orderId, reference: 'ch_none', amount: total, signal: never })).rejects.toThrow(
      GatewayUnavailableError,
    );
    expect(await booksOf(orderId)).toMatchObject({ refunds: 0 });
  });

  it('lists its books page by page', async () => {
    const orderId = randomUUID();
    const ledger = new SandboxLedger(shop.database);
    for (let n = 0; n < 5; n++)
      await shop.sandbox.charge({
        idempotencyKey: randomUUID(),
        orderId,
        amount: Money.of(BigInt(n), 'EUR'),
        token: 'tok_ok',
        signal: never,
      });
    const first = await ledger.list({ orderId, limit: 3 });
    const second = await ledger.list({ orderId, limit: 3, cursor: first.nextCursor as string });
    expect([...first.items, ...second.items].map(({ amount }) => amount.amount)).toEqual([0, 1, 2, 3, 4]);
    expect(second.nextCursor).toBeNull();
  });
});

describe('an answer that was lost', () => {
  it('is found again by an edited replay, which has another idempotency key', async () => {
    const orderId = randomUUID();
    await attempt(reserved(orderId, 'tok_lost_response'), capture).catch(ignoreGateway);
    expect(await booksOf(orderId)).toMatchObject({ charges: 1, payments: [] });
    expect(await redeliver(reserved(orderId, 'tok_ok'), capture)).toBe(true);
    expect(await booksOf(orderId)).toMatchObject({
      charges: 1,
      kept: total.amount,
      payments: [{ status: 'captured' }],
      events: ['captured'],
    });
  });

  it('is given back when the order is cancelled while its payment is a dead letter, whatever a replay does', async () => {
    for (const replayed of ['tok_ok', 'tok_declined', 'tok_lost_response', 'tok_broken']) {
      const orderId = randomUUID();
      const letter = reserved(orderId, 'tok_lost_response');
      await attempt(letter, capture).catch(ignoreGateway);
      expect(await redeliver(cancelled(orderId), refund)).toBe(true);
      expect((await expectNothingKept(orderId)).charges).toBe(1);
      expect(await redeliver(letter, capture)).toBe(true);
      expect(await redeliver(reserved(orderId, replayed), capture)).toBe(true);
      expect(await booksOf(orderId)).toMatchObject({ charges: 1, refunds: 1, kept: 0, payments: [{ status: 'refunded' }], events: [] });
    }
  });

  it.each(['tok_broken', 'tok_ok', 'tok_declined', 'tok_flaky'])('%s is not charged at all once the order is cancelled', async (token) => {
    const orderId = randomUUID();
    await attempt(reserved(orderId, 'tok_broken'), capture).catch(ignoreGateway);
    expect(await redeliver(cancelled(orderId), refund)).toBe(true);
    expect(await redeliver(reserved(orderId, token), capture)).toBe(true);
    expect(await booksOf(orderId)).toEqual({ charges: 0, refunds: 0, kept: 0, payments: [], events: [] });
  });
});

describe('a cancel that races a payment', () => {
  /** Runs the threads in one order, then redelivers what was not handled, as the broker and the retries do. */
  async function race(options: {
    tokens: readonly string[];
    instances?: number;
    kill?: { thread: string; step: number };
    choose: (options: readonly unknown[]) => number;
  }): Promise<string> {
    const orderId = randomUUID();
    const events = options.tokens.map((token) => reserved(orderId, token));
    const cancel = cancelled(orderId);
    const interleaving = new Interleaving(options.kill);
    const order: string[] = [];

    const capturing = (name: string) => async (): Promise<void> => {
      const payments = steppedPayments(() => interleaving.point(name));
      for (const event of events) {
        const handled = await attempt(
          event,
          (data, context) => payments.capture(data, context),
          () => interleaving.point(name),
        ).then(
          () => true,
          (error: unknown) => ignoreGateway(error) ?? false,
        );
        if (handled) return;
      }
    };
    const threads: Record<string, () => Promise<void>> = {};
    for (let n = 1; n <= (options.instances ?? 1); n++) threads[`capture ${n}`] = capturing(`capture ${n}`);
    threads['refund'] = async () => {
      const payments = steppedPayments(() => interleaving.point('refund'));
      await attempt(
        cancel,
        (data) => payments.refund(data),
        () => interleaving.point('refund'),
      );
    };
    await interleaving.run(threads, (waiting) => {
      const index = options.choose(waiting);
      order.push(waiting[index] as string);
      return index;
    });

    const last = events.at(-1) as Event<StockReserved>;
    await redeliver(last, capture);
    expect(await redeliver(cancel, refund)).toBe(true);
    await expectNothingKept(orderId);
    return order.join(' ');
  }

  it.each([[['tok_ok']], [['tok_declined']], [['tok_lost_response']], [['tok_lost_response', 'tok_ok']], [['tok_broken', 'tok_ok']]])(
    'keeps nothing, in every interleaving of the two, with %j',
    async (tokens) => {
      const seen = new Set<string>();
      const runs = await everyChoice(async (choose) => void seen.add(await race({ tokens, choose })));
      expect(seen.size).toBe(runs);
      expect(runs).toBeGreaterThan(5);
    },
    120_000,
  );

  it.each(['capture 1', 'refund'])(
    'keeps nothing when the process of "%s" dies before any of its steps, in every interleaving',
    async (thread) => {
      for (let step = 0; step < 5; step++)
        await everyChoice(async (choose) => void (await race({ tokens: ['tok_ok'], kill: { thread, step }, choose })));
    },
    240_000,
  );

  it('keeps nothing when a second instance gets the same event, in random interleavings', async () => {
    const schedules = fc.record({
      picks: fc.array(fc.nat({ max: 59 }), { minLength: 40, maxLength: 40 }),
      tokens: fc.constantFrom(['tok_ok'], ['tok_lost_response'], ['tok_flaky', 'tok_ok'], ['tok_declined']),
      kill: fc.option(fc.record({ thread: fc.constant('refund'), step: fc.nat({ max: 6 }) })),
    });
    await fc.assert(
      fc.asyncProperty(schedules, async ({ picks, tokens, kill }) => {
        let n = 0;
        await race({
          tokens,
          instances: 2,
          ...(kill && { kill }),
          choose: (options) => (picks[n++ % picks.length] as number) % options.length,
        });
      }),
      { numRuns: 80 },
    );
  }, 240_000);

  it('leaves a payment alone that no cancel comes for', async () => {
    const orderId = randomUUID();
    const event = reserved(orderId, 'tok_ok');
    await Promise.all([attempt(event, capture), attempt(event, capture), attempt(event, capture)]);
    expect(await booksOf(orderId)).toMatchObject({ charges: 1, refunds: 0, payments: [{ status: 'captured' }], events: ['captured'] });
    await shop.fresh.query('DELETE FROM inbox');
    await attempt(event, capture);
    expect(await booksOf(orderId)).toMatchObject({ charges: 1, refunds: 0, payments: [{ status: 'captured' }], events: [] });
  });
});
