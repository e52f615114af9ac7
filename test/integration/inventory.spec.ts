import { randomUUID } from 'node:crypto';
import type { Transaction } from '../../src/database/database.js';
import { Money } from '../../src/http/money.js';
import type { EventEnvelope } from '../../src/messaging/index.js';
import { seedDemoCatalogue } from '../../src/modules/inventory/demo-catalogue.js';
import { OnHandBelowReservedError, StockItemNotFoundError } from '../../src/modules/inventory/inventory.errors.js';
import { OrderCancelled, OrderConfirmed, OrderPlaced, type OrderedItem } from '../../src/modules/order/order.events.js';
import { stopServers } from '../support/brokers-under-test.js';
import { Shop } from '../support/shop.js';

let shop: Shop;

beforeAll(async () => {
  shop = await Shop.open();
});

afterAll(async () => {
  await shop.close();
  await stopServers();
});

const total = Money.of(100n, 'EUR');

function placed(items: OrderedItem[], orderId: string = randomUUID()): OrderPlaced {
  return OrderPlaced.of({ orderId, customerId: randomUUID(), items, total, paymentToken: 'tok_ok' });
}

/** Reserves for orders in one batch, as its consumer does. */
const reserve = (...orders: OrderPlaced[]): Promise<void> => shop.database.transaction((tx) => reserveIn(tx, orders));
const reserveIn = (tx: Transaction, orders: readonly OrderPlaced[]): Promise<void> =>
  shop.inventory.reserve(
    tx,
    orders.map((data) => ({ data }) as EventEnvelope<OrderPlaced>),
    { causedBy: (_, work) => work() },
  );
const commit = (...orderIds: string[]): Promise<void> => shop.database.transaction((tx) => shop.inventory.commit(tx, orderIds));
const release = (...orderIds: string[]): Promise<void> => shop.database.transaction((tx) => shop.inventory.release(tx, orderIds));
const types = async (): Promise<string[]> => (await shop.published()).map(({ envelope }) => envelope.type);

async function stockOf(sku: string): Promise<{ onHand: number; reserved: number }> {
  const { onHand, reserved } = await shop.inventory.find(sku);
  return { onHand, reserved };
}

describe('reserving stock', () => {
  it('G6: gives ten units to exactly ten of a hundred orders at once', async () => {
    await shop.stock('scarce', 10);
    await shop.published();
    await Promise.all(Array.from({ length: 100 }, () => reserve(placed([{ sku: 'scarce', quantity: 1 }]))));
    const events = await types();
    expect(events.filter((type) => type === 'commerce.stock.reserved')).toHaveLength(10);
    expect(events.filter((type) => type === 'commerce.stock.rejected')).toHaveLength(90);
    expect(await stockOf('scarce')).toEqual({ onHand: 10, reserved: 10 });
  });

  it('G6: gives ten units to exactly ten of a hundred orders in batches at once, the first of a batch first', async () => {
    await shop.stock('scarce-in-batches', 10);
    await shop.published();
    const batches = Array.from({ length: 10 }, () => Array.from({ length: 10 }, () => placed([{ sku: 'scarce-in-batches', quantity: 1 }])));
    await Promise.all(batches.map((orders) => reserve(...orders)));
    const events = (await shop.published()).map(({ envelope }) => envelope);
    const served = new Set(events.filter(({ type }) => type === 'commerce.stock.reserved').map(({ partitionkey }) => partitionkey));
    expect([served.size, events.length]).toEqual([10, 100]);
    for (const orders of batches) {
      const inTurn = orders.map(({ orderId }) => served.has(orderId));
      expect(inTurn).toEqual(inTurn.toSorted((a, b) => Number(b) - Number(a)));
    }
    expect(await stockOf('scarce-in-batches')).toEqual({ onHand: 10, reserved: 10 });
  });

  it('decides once on an order that comes twice in a batch', async () => {
    await shop.stock('twice', 10);
    await shop.published();
    const order = placed([{ sku: 'twice', quantity: 3 }]);
    await reserve(order, placed([{ sku: 'twice', quantity: 5 }]), order);
    expect(await types()).toEqual(['commerce.stock.reserved', 'commerce.stock.reserved']);
    expect(await stockOf('twice')).toEqual({ onHand: 10, reserved: 8 });
  });

  it('is all or nothing, and names what there is too little of', async () => {
    await shop.stock('plenty', 10);
    await shop.stock('few', 2);
    await shop.published();
    await reserve(
      placed([
        { sku: 'plenty', quantity: 1 },
        { sku: 'few', quantity: 3 },
        { sku: 'unheard-of', quantity: 1 },
      ]),
    );
    expect((await shop.published()).map(({ envelope }) => envelope)).toMatchObject([
      { type: 'commerce.stock.rejected', data: { skus: ['few', 'unheard-of'] } },
    ]);
    expect(await stockOf('plenty')).toEqual({ onHand: 10, reserved: 0 });
    expect(await stockOf('few')).toEqual({ onHand: 2, reserved: 0 });
  });

  it('C3: holds nothing for an order that comes later than its cancel', async () => {
    await shop.stock('late', 10);
    await shop.published();
    const order = placed([{ sku: 'late', quantity: 3 }]);
    await release(order.orderId);
    await reserve(order);
    expect(await types()).toEqual([]);
    expect(await stockOf('late')).toEqual({ onHand: 10, reserved: 0 });
    await release(order.orderId);
    expect(await stockOf('late')).toEqual({ onHand: 10, reserved: 0 });
  });

  it('takes orders that name the same skus the other way round, without a deadlock and without overselling', async () => {
    const skus = ['x1', 'x2', 'x3', 'x4', 'x5'];
    for (const sku of skus) await shop.stock(sku, 20);
    let tries = 0;
    await Promise.all(
      Array.from({ length: 60 }, (_, n) => {
        const items = skus.map((sku) => ({ sku, quantity: 1 }));
        const order = placed(n % 2 === 0 ? items : items.reverse());
        return shop.database.transaction((tx) => {
          tries++; // a deadlock would show as a transaction that is run anew
          return reserveIn(tx, [order]);
        });
      }),
    );
    for (const sku of skus) expect(await stockOf(sku)).toEqual({ onHand: 20, reserved: 20 });
    expect(tries).toBe(60);
  });

  it('decides once per order, also when the inbox has forgotten the event', async () => {
    await shop.stock('once', 5);
    const order = placed([{ sku: 'once', quantity: 2 }]);
    const refused = placed([{ sku: 'once', quantity: 9 }]);
    await Promise.all([reserve(order), reserve(order), reserve(refused)]);
    await shop.published();
    await reserve(order);
    await shop.stock('once', 50);
    await reserve(refused);
    expect(await types()).toEqual([]);
    expect(await stockOf('once')).toEqual({ onHand: 50, reserved: 2 });
  });
});

describe('what becomes of reserved stock', () => {
  it.each<[string, readonly ('confirmed' | 'cancelled')[], { onHand: number; reserved: number }]>([
    ['confirmed', ['confirmed'], { onHand: 7, reserved: 0 }],
    ['confirmed twice', ['confirmed', 'confirmed'], { onHand: 7, reserved: 0 }],
    ['cancelled', ['cancelled'], { onHand: 10, reserved: 0 }],
    ['cancelled twice', ['cancelled', 'cancelled'], { onHand: 10, reserved: 0 }],
    ['confirmed, then cancelled', ['confirmed', 'cancelled'], { onHand: 10, reserved: 0 }],
    ['confirmed, then cancelled twice', ['confirmed', 'cancelled', 'cancelled'], { onHand: 10, reserved: 0 }],
  ])('%s', async (what, events, expected) => {
    const sku = what.replace(/[^a-z]/g, '-');
    await shop.stock(sku, 10);
    const order = placed([{ sku, quantity: 3 }]);
    await reserve(order);
    expect(await stockOf(sku)).toEqual({ onHand: 10, reserved: 3 });
    for (const event of events) await (event === 'confirmed' ? commit : release)(order.orderId);
    expect(await stockOf(sku)).toEqual(expected);
  });

  it('commits and releases a batch of orders that stand differently, each as by itself', async () => {
    await shop.stock('several', 20);
    const [kept, released, returned, refused] = [2, 3, 4, 99].map((quantity) => placed([{ sku: 'several', quantity }])) as [
      OrderPlaced,
      OrderPlaced,
      OrderPlaced,
      OrderPlaced,
    ];
    const early = placed([{ sku: 'several', quantity: 1 }]);
    await reserve(kept, released, returned, refused);
    expect(await stockOf('several')).toEqual({ onHand: 20, reserved: 9 });
    await commit(kept.orderId, returned.orderId, refused.orderId, early.orderId);
    expect(await stockOf('several')).toEqual({ onHand: 14, reserved: 3 });
    await release(released.orderId, returned.orderId, refused.orderId, early.orderId, released.orderId);
    expect(await stockOf('several')).toEqual({ onHand: 18, reserved: 0 });
    await reserve(early);
    expect(await stockOf('several')).toEqual({ onHand: 18, reserved: 0 });
  });

  it('changes nothing for an order that holds nothing', async () => {
    await shop.stock('untouched', 1);
    const refused = placed([{ sku: 'untouched', quantity: 2 }]);
    await reserve(refused);
    await release(refused.orderId);
    await commit(randomUUID());
    await release(randomUUID());
    expect(await stockOf('untouched')).toEqual({ onHand: 1, reserved: 0 });
  });

  it('takes goods back even when the shelf is as full as it can be put', async () => {
    await shop.stock('full', 1_000_000);
    const order = placed([{ sku: 'full', quantity: 1_000_000 }]);
    await reserve(order);
    await commit(order.orderId);
    await shop.stock('full', 2 ** 31 - 1);
    await release(order.orderId);
    expect(await stockOf('full')).toEqual({ onHand: 2 ** 31 - 1 + 1_000_000, reserved: 0 });
  });

  it('I8: adds up after many orders at once, whatever becomes of each', async () => {
    const skus = ['m1', 'm2', 'm3'];
    for (const sku of skus) await shop.stock(sku, 40);
    const held = new Map(skus.map((sku) => [sku, 0]));
    await Promise.all(
      Array.from({ length: 60 }, async (_, n) => {
        const items = skus.slice(0, 1 + (n % 3)).map((sku) => ({ sku, quantity: 1 + (n % 2) }));
        const order = placed(n % 2 === 0 ? items : items.reverse());
        const { customerId, orderId } = order;
        await shop.emit(order);
        const events = [
          ...(n % 4 < 3 ? [OrderConfirmed.of({ orderId, customerId, total })] : []),
          ...(n % 4 > 0 ? [OrderCancelled.of({ orderId, customerId, total, reason: 'requested' })] : []),
        ];
        await reserve(order);
        for (const event of events) await (event instanceof OrderConfirmed ? commit : release)(orderId);
        const [row] = await shop.fresh.query<{ state: string }>('SELECT state FROM reservation WHERE order_id = $1', [orderId]);
        if (row?.state === 'committed') for (const { sku, quantity } of items) held.set(sku, (held.get(sku) ?? 0) + quantity);
      }),
    );
    for (const sku of skus) expect(await stockOf(sku)).toEqual({ onHand: 40 - (held.get(sku) ?? 0), reserved: 0 });
  });
});

describe('the catalogue', () => {
  it('creates and changes an item, and keeps what is reserved', async () => {
    const body = { name: 'Tea', price: Money.of(9_007_199_254_740_991n, 'JPY'), onHand: 5 };
    expect(await shop.inventory.put('tea', body)).toEqual({ sku: 'tea', ...body, reserved: 0 });
    await reserve(placed([{ sku: 'tea', quantity: 4 }]));
    const changed = { name: 'Green tea', price: Money.of(3_000_000_000n, 'EUR'), onHand: 4 };
    expect(await shop.inventory.put('tea', changed)).toEqual({ sku: 'tea', ...changed, reserved: 4 });
    await expect(shop.inventory.put('tea', { ...changed, onHand: 3 })).rejects.toThrow(OnHandBelowReservedError);
    expect(await shop.inventory.find('tea')).toEqual({ sku: 'tea', ...changed, reserved: 4 });
    await expect(shop.inventory.find('nothing')).rejects.toThrow(StockItemNotFoundError);
  });

  it('never lets a change of stock get below what is reserved at the same time', async () => {
    for (let round = 0; round < 20; round++) {
      const sku = `race-${round}`;
      await shop.stock(sku, 10);
      const [put] = await Promise.allSettled([shop.stock(sku, 5), reserve(placed([{ sku, quantity: 8 }]))]);
      expect(await stockOf(sku)).toEqual(put.status === 'fulfilled' ? { onHand: 5, reserved: 0 } : { onHand: 10, reserved: 8 });
    }
  });

  it('is listed page by page, each item once', async () => {
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await shop.inventory.list({ limit: 7, ...(cursor !== undefined && { cursor }) });
      seen.push(...page.items.map(({ sku }) => sku));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    const [row] = await shop.fresh.query<{ count: number }>('SELECT count(*)::int AS count FROM stock_item');
    expect(seen).toHaveLength(row?.count ?? -1);
    expect(new Set(seen).size).toBe(seen.length);
  });

  it('takes the demonstration goods twice, and overwrites nothing', async () => {
    expect(await seedDemoCatalogue(shop.database.prisma)).toBeGreaterThan(0);
    const { name, price } = await shop.inventory.find('coffee-1kg');
    await shop.inventory.put('coffee-1kg', { name, price: { ...price, amount: 1 }, onHand: 3 });
    expect(await seedDemoCatalogue(shop.database.prisma)).toBe(0);
    expect(await shop.inventory.find('coffee-1kg')).toMatchObject({ onHand: 3, price: { amount: 1 } });
  });
});
