import { randomUUID } from 'node:crypto';
import { perEvent, until, type Bench, type Stage } from '../lib/bench.js';
import { postFor } from '../lib/http-load.js';
import { startShop } from '../lib/shop.js';

const CONNECTIONS = 64;
/** What all orders are for: the hardest case, since one row of the stock is in every one of them. */
const SKU = 'coffee-1kg';
const STOCK = 1_000_000_000;

/** The shop as it is deployed, with orders that wait: from its start until all that follows from them is done, in one process. */
export async function shop(bench: Bench): Promise<void> {
  for (const broker of bench.brokers) {
    const own = bench.on([broker]);
    await own.stage(broker, (stage) => settle(own, stage));
  }
}

async function settle(bench: Bench, stage: Stage): Promise<void> {
  const orders = await place(stage, Math.ceil(bench.events / 10));
  const consumers = await startShop(stage, { ROLES: 'relay,consumers' });
  const cost = await stage.cost([consumers.subject], () =>
    until(
      stage.database,
      `(SELECT count(*) FROM notification) >= ${orders} AND (SELECT count(*) FROM reservation WHERE state = 'committed') >= ${orders}`,
    ),
  );
  const [found] = await stage.database.query(
    `SELECT (SELECT count(*)::int FROM orders WHERE status = 'confirmed') AS confirmed,
      (SELECT count(DISTINCT order_id)::int FROM sandbox_ledger_entry WHERE kind = 'charge') AS charged,
      (SELECT count(*)::int FROM sandbox_ledger_entry) AS entries, (SELECT count(*)::int FROM notification) AS told,
      (SELECT ${STOCK} - on_hand FROM stock_item WHERE sku = $1)::int AS sold, (SELECT sum(reserved)::int FROM stock_item) AS reserved,
      (SELECT count(*)::int FROM dead_letter) AS dead`,
    [SKU],
  );
  const each = { confirmed: orders, charged: orders, entries: orders, told: orders, sold: orders };
  bench.check('what has become of the orders', found, { ...each, reserved: 0, dead: 0 });
  bench.add({
    workload: 'shop',
    name: 'orders of one item, five handlers and four events each',
    broker: stage.broker,
    value: orders / cost.seconds,
    unit: 'orders/s',
    ...perEvent(cost, orders),
  });
}

/** At least so many orders, whose events wait at the broker. */
async function place(stage: Stage, count: number): Promise<number> {
  const shop = await startShop(stage, { ROLES: 'http,relay' });
  await stage.database.query('UPDATE stock_item SET on_hand = $1', [STOCK]);
  const order = (): string => JSON.stringify({ customerId: randomUUID(), items: [{ sku: SKU, quantity: 1 }], paymentToken: 'tok_ok' });
  let placed = 0;
  while (placed < count) placed += (await postFor([shop.port], '/orders', CONNECTIONS, 1, order)).accepted;
  await until(stage.database, 'NOT EXISTS (SELECT 1 FROM outbox)');
  await shop.stop();
  return placed;
}
