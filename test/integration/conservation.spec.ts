import fc from 'fast-check';
import { plainToInstance } from 'class-transformer';
import { randomUUID } from 'node:crypto';
import type { EventEnvelope } from '../../src/messaging/event/event-envelope.js';
import { definitionOf } from '../../src/messaging/event/event-definition.js';
import { StockReserved } from '../../src/modules/inventory/inventory.events.js';
import { PlaceOrderBody, type OrderAnswer } from '../../src/modules/order/order.dto.js';
import { OrderAlreadyCancelledError } from '../../src/modules/order/order.errors.js';
import { stopServers } from '../support/brokers-under-test.js';
import { Shop, type Subscriber } from '../support/shop.js';

const TOKENS = ['tok_ok', 'tok_declined', 'tok_flaky', 'tok_lost_response', 'tok_broken'];
const STOCK = { cup: 12, pot: 25, tray: 1000 };
const ATTEMPTS = 4;

interface Plan {
  readonly token: string;
  readonly items: readonly { sku: string; quantity: number }[];
  /** After so many events of the shop the customer cancels; never where it is null, once all is quiet where it is infinite. */
  readonly cancelAfter: number | null;
  /** What an operator makes of its payment's dead letter. */
  readonly mendedToken: string;
}

const plan: fc.Arbitrary<Plan> = fc.record({
  token: fc.constantFrom(...TOKENS),
  items: fc
    .uniqueArray(fc.constantFrom(...Object.keys(STOCK)), { minLength: 1 })
    .chain((skus) => fc.tuple(...skus.map((sku) => fc.record({ sku: fc.constant(sku), quantity: fc.integer({ min: 1, max: 3 }) })))),
  cancelAfter: fc.option(fc.nat({ max: 60 })),
  mendedToken: fc.constantFrom('tok_ok', 'tok_declined'),
});

/** Each token, cancelled at several moments and not at all; and each end that there is, whoever wins the scarce cups. */
const everyKind: Plan[] = [
  ...TOKENS.flatMap((token) => [null, 10, 30, 60, 90, 120, 150].map((cancelAfter) => planOf(token, cancelAfter, { cup: 1, tray: 2 }))),
  planOf('tok_ok', null, { tray: 1 }),
  planOf('tok_ok', Infinity, { tray: 1 }),
  planOf('tok_declined', null, { tray: 1 }),
  planOf('tok_ok', null, { cup: STOCK.cup + 1 }),
];

function planOf(token: string, cancelAfter: number | null, quantities: Readonly<Record<string, number>>): Plan {
  return { token, items: Object.entries(quantities).map(([sku, quantity]) => ({ sku, quantity })), cancelAfter, mendedToken: 'tok_ok' };
}

/** Delivers as the brokers do: keys at once, one key of a topic in order within a group, now and then twice at the same time. */
class Courier {
  readonly letters: { envelope: EventEnvelope; subscriber: Subscriber }[] = [];
  private readonly chains = new Map<string, Promise<void>>();
  private count = 0;
  private active = 0;
  private failure: unknown;

  constructor(
    private readonly shop: Shop,
    private readonly onEvent: (count: number) => void,
  ) {}

  async untilQuiet(): Promise<void> {
    for (;;) {
      const idle = this.active === 0; // asked before the look: what they have emitted is seen by it
      const events = await this.shop.published();
      if (this.failure !== undefined) throw this.failure as Error;
      if (idle && events.length === 0) return;
      this.take(events.map(({ envelope }) => envelope));
    }
  }

  take(envelopes: readonly EventEnvelope[]): void {
    for (let n = 0; n < envelopes.length; n++) this.onEvent(this.count++);
    for (const subscriber of this.shop.subscribers) {
      const events = envelopes.filter(({ type }) => type === definitionOf(subscriber.event).type);
      if ('handleBatch' in subscriber.consumer) this.queue(events, subscriber);
      else for (const event of events) this.queue([event], subscriber);
    }
  }

  /** Behind the earlier events of their keys. */
  private queue(events: readonly EventEnvelope[], subscriber: Subscriber): void {
    if (events.length === 0) return;
    this.active++;
    const chains = events.map(({ partitionkey }) => `${subscriber.group} ${definitionOf(subscriber.event).topic} ${partitionkey}`);
    const handled = Promise.all(chains.map((chain) => this.chains.get(chain) ?? Promise.resolve()))
      .then(() => this.handleAll(events, subscriber))
      .catch((error: unknown) => void (this.failure ??= error))
      .finally(() => this.active--);
    for (const chain of chains) this.chains.set(chain, handled);
  }

  /** Together, as the runner does, else one by one. */
  private async handleAll(events: readonly EventEnvelope[], subscriber: Subscriber): Promise<void> {
    const [first, ...others] = events;
    if (first && others.length > 0) {
      const attempts = Array.from({ length: this.copies() }, () => this.shop.attempt([first, ...others], subscriber));
      if ((await Promise.all(attempts)).some(({ kind }) => kind === 'handled')) return;
    }
    for (const event of events) await this.handle(event, subscriber);
  }

  private async handle(envelope: EventEnvelope, subscriber: Subscriber): Promise<void> {
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const outcomes = await Promise.all(Array.from({ length: this.copies() }, () => this.shop.deliver(envelope, subscriber)));
      if (outcomes.some(({ kind }) => kind === 'handled' || kind === 'duplicate')) return;
    }
    this.letters.push({ envelope, subscriber });
  }

  private copies(): number {
    return this.count % 3 === 0 ? 2 : 1;
  }
}

describe('money and stock', () => {
  afterAll(stopServers);

  it('I1, I2, I5, I7, I8, I10, I11: add up, whatever customers, gateway and operators do', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(plan, { minLength: 20, maxLength: 40 }), async (plans) => {
        const shop = await Shop.open();
        try {
          for (const [sku, onHand] of Object.entries(STOCK)) await shop.stock(sku, onHand);
          await play(shop, plans);
        } finally {
          await shop.close();
        }
      }),
      { numRuns: 4, endOnFailure: true, examples: [[everyKind]] },
    );
    expect([...seen].sort()).toEqual([
      'cancelled out_of_stock',
      'cancelled payment_declined',
      'cancelled requested',
      'captured',
      'confirmed',
      'declined',
      'refunded',
    ]);
  }, 240_000);
});

/** What has been seen to happen, over all runs. */
const seen = new Set<string>();

async function play(shop: Shop, plans: readonly Plan[]): Promise<void> {
  const orders: { id: string; plan: Plan; cancelled: boolean }[] = [];
  const cancels: Promise<void>[] = [];
  const cancel = async (order: { id: string; cancelled: boolean }): Promise<void> => {
    await shop.orders.cancel(order.id).then(
      () => (order.cancelled = true),
      (error: unknown) => {
        if (!(error instanceof OrderAlreadyCancelledError)) throw error;
      },
    );
  };
  const courier = new Courier(shop, (count) => {
    for (const order of orders) if (order.plan.cancelAfter === count) cancels.push(cancel(order));
  });

  await Promise.all(
    plans.map(async (plan) => {
      const body = Object.assign(new PlaceOrderBody(), { customerId: randomUUID(), items: [...plan.items], paymentToken: plan.token });
      const key = randomUUID();
      const answers = await Promise.all([shop.orders.place(body, key), shop.orders.place(body, key)]);
      const ids = new Set(answers.map(({ body: text }) => (JSON.parse(text) as OrderAnswer).id));
      expect(ids.size).toBe(1);
      for (const id of ids) orders.push({ id, plan, cancelled: false });
    }),
  );
  await courier.untilQuiet();
  for (const order of orders) if (order.plan.cancelAfter === Infinity) cancels.push(cancel(order));
  await Promise.all(cancels);
  await courier.untilQuiet();

  // I9, in small: only what the gateway never answers, or was cut short, became a dead letter. The operator mends it.
  for (const { envelope, subscriber } of courier.letters.splice(0)) {
    expect(subscriber.event).toBe(StockReserved);
    const order = orders.find(({ id }) => id === envelope.partitionkey);
    expect(order?.plan.token).toBe('tok_broken');
    const data = plainToInstance(StockReserved, { ...(envelope.data as StockReserved), paymentToken: order?.plan.mendedToken });
    courier.take([{ ...envelope, id: randomUUID(), causationid: envelope.id, data }]);
  }
  await courier.untilQuiet();
  expect(courier.letters).toEqual([]);

  const onHand = new Map<string, number>(Object.entries(STOCK));
  const [count] = await shop.fresh.query<{ orders: number }>('SELECT count(*)::int AS orders FROM orders');
  expect(count?.orders).toBe(plans.length);
  for (const { id, cancelled } of orders) {
    const order = await shop.orders.find(id);
    expect(order.status).not.toBe('pending');
    expect(order.history.at(-1)?.status).toBe(order.status);
    if (cancelled) expect(order).toMatchObject({ status: 'cancelled', reason: 'requested' });
    if (order.status === 'confirmed') for (const { sku, quantity } of order.items) onHand.set(sku, (onHand.get(sku) ?? 0) - quantity);

    const entries = await shop.database.prisma.sandboxLedgerEntry.findMany({ where: { orderId: id } });
    const [payment, ...more] = (await shop.payments.list({ orderId: id, limit: 50 })).items;
    const sum = (kind: string): number =>
      entries.filter((entry) => entry.kind === kind).reduce((total, { amount }) => total + Number(amount), 0);
    seen.add([order.status, order.reason].join(' ').trim());
    if (payment) seen.add(payment.status);
    expect(more).toEqual([]);
    expect(entries.filter(({ kind }) => kind === 'charge').length).toBeLessThanOrEqual(1);
    expect(sum('charge') - sum('refund')).toBe(order.status === 'confirmed' ? order.total.amount : 0);
    expect(payment?.status).toBe(
      entries.length === 0 ? (payment ? 'declined' : undefined) : order.status === 'confirmed' ? 'captured' : 'refunded',
    );

    const kinds = (await shop.notifications.list({ orderId: id, limit: 50 })).items.map(({ kind }) => kind.replace('order_', ''));
    expect(kinds.sort()).toEqual(
      order.history
        .map(({ status }) => status as string)
        .filter((status) => status !== 'pending')
        .sort(),
    );
  }
  for (const [sku, left] of onHand) expect(await shop.inventory.find(sku)).toMatchObject({ onHand: left, reserved: 0 });
}
