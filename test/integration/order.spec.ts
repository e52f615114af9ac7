import pg from 'pg';
import { randomUUID } from 'node:crypto';
import { PlaceOrderBody, type OrderAnswer } from '../../src/modules/order/order.dto.js';
import {
  IdempotencyKeyInUseError,
  IdempotencyKeyReusedError,
  MixedCurrenciesError,
  OrderAlreadyCancelledError,
  OrderNotFoundError,
  TotalTooLargeError,
  UnknownSkuError,
} from '../../src/modules/order/order.errors.js';
import { eventually } from '../support/eventually.js';
import { stopServers } from '../support/brokers-under-test.js';
import { Shop } from '../support/shop.js';

let shop: Shop;

beforeAll(async () => {
  shop = await Shop.open();
  await shop.stock('coffee', 1000);
  await shop.stock('filter', 1000, { amount: 350, currency: 'EUR' });
  await shop.stock('tea', 1000, { amount: 900, currency: 'USD' });
  await shop.stock('palace', 10, { amount: Number.MAX_SAFE_INTEGER, currency: 'EUR' });
});

afterAll(async () => {
  await shop.close();
  await stopServers();
});

function request(members: Partial<PlaceOrderBody> = {}): PlaceOrderBody {
  return Object.assign(new PlaceOrderBody(), {
    customerId: randomUUID(),
    items: [
      { sku: 'coffee', quantity: 2 },
      { sku: 'filter', quantity: 1 },
    ],
    paymentToken: 'tok_ok',
    ...members,
  });
}

async function place(body = request(), key?: string): Promise<OrderAnswer> {
  return JSON.parse((await shop.orders.place(body, key)).body) as OrderAnswer;
}

async function rows(): Promise<Record<string, number>> {
  const [counts] = await shop.fresh.query<Record<string, number>>(
    `SELECT (SELECT count(*)::int FROM orders) AS orders, (SELECT count(*)::int FROM order_item) AS items,
       (SELECT count(*)::int FROM order_history) AS history, (SELECT count(*)::int FROM idempotency_key) AS keys, (SELECT count(*)::int FROM outbox) AS events`,
  );
  return counts as Record<string, number>;
}

describe('placing an order', () => {
  it('writes order, items, history and event together, and answers what GET answers', async () => {
    await shop.published();
    const body = request({ note: 'ring twice 🔔' });
    const { status, location, body: text } = await shop.orders.place(body, undefined);
    const answer = JSON.parse(text) as OrderAnswer;

    expect(status).toBe(202);
    expect(location).toBe(`/orders/${answer.id}`);
    expect(answer).toEqual({
      id: expect.any(String) as string,
      customerId: body.customerId,
      status: 'pending',
      items: [
        { sku: 'coffee', quantity: 2, unitPrice: { amount: 1290, currency: 'EUR' } },
        { sku: 'filter', quantity: 1, unitPrice: { amount: 350, currency: 'EUR' } },
      ],
      total: { amount: 2930, currency: 'EUR' },
      note: 'ring twice 🔔',
      createdAt: expect.stringMatching(/^\d{4}-.*Z$/) as string,
      history: [{ status: 'pending', at: answer.createdAt }],
    });
    expect(await shop.orders.find(answer.id)).toEqual(answer);
    const [event, ...more] = await shop.published();
    expect(more).toEqual([]);
    expect(event?.envelope).toMatchObject({
      type: 'commerce.order.placed',
      partitionkey: answer.id,
      data: { orderId: answer.id, items: body.items, total: answer.total, paymentToken: 'tok_ok' },
    });
    expect(JSON.stringify(event?.envelope)).not.toContain('ring twice');
  });

  it('sees a price as soon as it is set', async () => {
    await shop.stock('new', 1, { amount: 5, currency: 'EUR' });
    expect((await place(request({ items: [{ sku: 'new', quantity: 3 }] }))).total).toEqual({ amount: 15, currency: 'EUR' });
    await shop.stock('new', 1, { amount: 7, currency: 'EUR' });
    expect((await place(request({ items: [{ sku: 'new', quantity: 3 }] }))).total).toEqual({ amount: 21, currency: 'EUR' });
  });

  it('keeps the largest sum exactly', async () => {
    const { id, total } = await place(request({ items: [{ sku: 'palace', quantity: 1 }] }));
    expect(total.amount).toBe(Number.MAX_SAFE_INTEGER);
    expect((await shop.orders.find(id)).items[0]?.unitPrice.amount).toBe(Number.MAX_SAFE_INTEGER);
  });

  it.each([
    [
      'an unknown sku',
      UnknownSkuError,
      [
        { sku: 'coffee', quantity: 1 },
        { sku: 'nope', quantity: 1 },
      ],
    ],
    [
      'mixed currencies',
      MixedCurrenciesError,
      [
        { sku: 'coffee', quantity: 1 },
        { sku: 'tea', quantity: 1 },
      ],
    ],
    ['too large a total', TotalTooLargeError, [{ sku: 'palace', quantity: 2 }]],
    ['a hostile sku', UnknownSkuError, [{ sku: "'; DROP TABLE orders; --", quantity: 1 }]],
  ])('refuses %s, and changes nothing', async (_what, error, items) => {
    const before = await rows();
    await expect(place(request({ items }), randomUUID())).rejects.toThrow(error);
    expect(await rows()).toEqual(before);
  });
});

describe('an idempotency key', () => {
  it('gives the stored first answer to the same JSON value, whatever has changed since', async () => {
    const key = randomUUID();
    const body = request();
    const first = await shop.orders.place(body, key);
    const { id } = JSON.parse(first.body) as OrderAnswer;
    await shop.orders.cancel(id);
    const before = await rows();

    const { customerId, items, paymentToken } = body;
    const reordered = Object.assign(new PlaceOrderBody(), {
      paymentToken,
      items: items.map(({ sku, quantity }) => ({ quantity, sku })),
      customerId,
    });
    expect(await shop.orders.place(reordered, key)).toMatchObject(first);
    expect(await rows()).toEqual(before);
  });

  it.each<[string, (body: PlaceOrderBody) => Partial<PlaceOrderBody>]>([
    ['another customer', () => ({ customerId: randomUUID() })],
    [
      'another quantity',
      () => ({
        items: [
          { sku: 'coffee', quantity: 3 },
          { sku: 'filter', quantity: 1 },
        ],
      }),
    ],
    ['the items in another order', ({ items }) => ({ items: [...items].reverse() })],
    ['another token', () => ({ paymentToken: 'tok_declined' })],
    ['a note', () => ({ note: '' })],
    ['a body that would be refused itself', () => ({ items: [{ sku: 'nope', quantity: 1 }] })],
  ])('refuses %s', async (_what, change) => {
    const key = randomUUID();
    const body = request();
    await place(body, key);
    const before = await rows();
    await expect(place(request({ ...body, ...change(body) }), key)).rejects.toThrow(IdempotencyKeyReusedError);
    expect(await rows()).toEqual(before);
  });

  it('is not spent on a refusal', async () => {
    const key = randomUUID();
    const body = request({ items: [{ sku: 'late', quantity: 1 }] });
    await expect(place(body, key)).rejects.toThrow(UnknownSkuError);
    await shop.stock('late', 1);
    const order = await place(body, key);
    expect((await place(body, key)).id).toBe(order.id);
  });

  it('makes one order of twenty twins at once', async () => {
    const key = randomUUID();
    const body = request();
    const before = await rows();
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => place(body, key)));
    const ids = new Set(outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value.id] : [])));
    expect(ids.size).toBe(1);
    for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(IdempotencyKeyInUseError);
    expect(await rows()).toMatchObject({ orders: (before['orders'] ?? 0) + 1, keys: (before['keys'] ?? 0) + 1 });
  });

  it('waits for a twin only so long, then says when to come again; if the twin fails, the key is free', async () => {
    const key = randomUUID();
    const body = request();
    const twin = new pg.Client({ connectionString: shop.fresh.url });
    await twin.connect();
    try {
      await twin.query('BEGIN');
      await twin.query("INSERT INTO idempotency_key (key, request) VALUES ($1, 'unknown yet')", [key]);
      await expect(place(body, key)).rejects.toMatchObject({
        constructor: IdempotencyKeyInUseError,
        status: 409,
        headers: { 'retry-after': '1' },
      });

      const waiting = place(body, key);
      await eventually(async () => {
        const [row] = await shop.fresh.query<{ waiting: number }>('SELECT count(*)::int AS waiting FROM pg_locks WHERE NOT granted');
        expect(row?.waiting).toBe(1);
      });
      await twin.query('ROLLBACK');
      expect((await waiting).status).toBe('pending');
    } finally {
      await twin.end();
    }
  });

  it('does not shorten the waits of the rest of its transaction', async () => {
    const key = randomUUID();
    await shop.database.transaction(async (tx) => {
      await tx.$executeRaw`SELECT set_config('lock_timeout', '7777', true)`;
      const { IdempotencyKeys } = await import('../../src/modules/order/idempotency-keys.js');
      await new IdempotencyKeys(shop.database, undefined as never).claim(tx, [{ key, request: 'x' }]);
      expect(await tx.$queryRaw`SELECT current_setting('lock_timeout') AS value`).toEqual([{ value: '7777ms' }]);
    });
  });
});

describe('cancelling an order', () => {
  it('cancels a pending and a confirmed one, with its history, and no cancelled one', async () => {
    const pending = await place();
    expect(await shop.orders.cancel(pending.id)).toMatchObject({
      status: 'cancelled',
      reason: 'requested',
      history: [{ status: 'pending' }, { status: 'cancelled', reason: 'requested' }],
    });
    await expect(shop.orders.cancel(pending.id)).rejects.toThrow(OrderAlreadyCancelledError);

    const confirmed = await place();
    await shop.database.transaction((tx) => shop.orders.confirmIfPending(tx, confirmed.id));
    const answer = await shop.orders.cancel(confirmed.id);
    expect(answer.history.map(({ status }) => status)).toEqual(['pending', 'confirmed', 'cancelled']);
    expect(await shop.orders.find(confirmed.id)).toEqual(answer);

    await expect(shop.orders.cancel(randomUUID())).rejects.toThrow(OrderNotFoundError);
  });

  it('is done once by many at once, and races a confirmation to a legal history', async () => {
    for (let round = 0; round < 20; round++) {
      const { id } = await place();
      const cancels = await Promise.allSettled([
        shop.orders.cancel(id),
        shop.database.transaction((tx) => shop.orders.confirmIfPending(tx, id)),
        shop.orders.cancel(id),
        shop.database.transaction((tx) => shop.orders.cancelIfPending(tx, id, 'payment_declined')),
      ]);
      const requested = [cancels[0], cancels[2]].filter((outcome) => outcome?.status === 'fulfilled').length;
      const order = await shop.orders.find(id);
      expect(order.status).toBe('cancelled');
      expect([
        ['pending', 'cancelled'],
        ['pending', 'confirmed', 'cancelled'],
      ]).toContainEqual(order.history.map(({ status }) => status));
      expect(requested).toBe(order.reason === 'requested' ? 1 : 0);
    }
  });

  it('ignores what comes too late, and what is of no order', async () => {
    const { id } = await place();
    await shop.orders.cancel(id);
    const cancelled = await shop.orders.find(id);
    await shop.published();
    await shop.database.transaction(async (tx) => {
      await shop.orders.confirmIfPending(tx, id);
      await shop.orders.cancelIfPending(tx, id, 'out_of_stock');
      await shop.orders.confirmIfPending(tx, randomUUID());
      await shop.orders.cancelIfPending(tx, randomUUID(), 'out_of_stock');
    });
    expect(await shop.orders.find(id)).toEqual(cancelled);
    expect(await shop.published()).toEqual([]);
  });
});

describe("a customer's orders", () => {
  it('come newest first, page by page, each once', async () => {
    const customerId = randomUUID();
    const placed: string[] = [];
    for (let n = 0; n < 7; n++) placed.push((await place(request({ customerId }))).id);
    await place();
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await shop.orders.list({ customerId, limit: 3, ...(cursor !== undefined && { cursor }) });
      expect(page.items.length).toBeLessThanOrEqual(3);
      seen.push(...page.items.map(({ id }) => id));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    expect(seen).toEqual(placed.reverse());
    expect((await shop.orders.list({ customerId, limit: 7 })).nextCursor).toBeNull();
    expect(await shop.orders.list({ customerId: randomUUID(), limit: 50 })).toEqual({ items: [], nextCursor: null });
  });
});
