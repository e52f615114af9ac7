import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { freePort } from '../../scripts/lib/ports.mjs';
import type { BrokerName } from '../../src/config/config.js';
import { bucketOf } from '../../src/messaging/event/key-hash.js';
import { perEvent, until, type Bench, type Cost, type Stage } from '../lib/bench.js';
import { startBaseline, TUTORIAL } from '../lib/baseline.js';
import { postFor, type HttpLoad } from '../lib/http-load.js';
import { startShop, type Shop } from '../lib/shop.js';

const WORKLOAD = 'write';
const OUTBOX_BACKLOG = 'SELECT count(*) FROM outbox';
const CONNECTIONS = 64;
const SECONDS = 8;
/** Until V8 has compiled what is asked for all the time; in the first seconds a request costs twice as much. */
const WARM_UP_SECONDS = 20;

interface Server {
  readonly subject: { readonly pid: number };
  readonly port: number;
}

/** The body of a request. */
const order = (): string =>
  JSON.stringify({ customerId: randomUUID(), items: [{ sku: 'coffee-1kg', quantity: 1 }], paymentToken: 'tok_ok' });

/** How orders are committed, and by how many instances of the application. */
const WAYS = [
  ['POST /orders, group commit', true, 1],
  ['POST /orders, group commit, two instances', true, 2],
  ['POST /orders, a transaction each', false, 1],
] as const;

/** How a module that a user has written commits, which does no more than the tutorial way's. */
const OWN_MODULE = [
  ['a module of one’s own, commits grouped', 'grouped'],
  ['a module of one’s own, a transaction each', 'single'],
] as const;

/** `POST /orders`: an order and its event in one transaction, over 64 connections, while the events are published. */
export async function write(bench: Bench): Promise<void> {
  for (const broker of bench.brokers) await postOrders(bench, broker);
  await bench.stage('kafka', (stage) => postBaseline(bench, stage));
  await bench.stage('postgres', async (stage) => limit(bench, stage));
  await bench.stage('postgres', async (stage) => http(bench, stage));
  await outboxCost(bench);
}

/** Each of the ways to commit, and a module of one's own. */
export async function postOrders(bench: Bench, broker: BrokerName): Promise<void> {
  for (const [name, groupCommit, instances] of WAYS)
    await bench.stage(broker, async (stage) => {
      const shops: Shop[] = [];
      for (let n = 0; n < instances; n++)
        shops.push(await startShop(stage, { ROLES: 'http,relay', ORDERS_GROUP_COMMIT: String(groupCommit) }));
      await postUntilPublished(bench, stage, shops, name);
    });
  await bench.stage(broker, (stage) => postWhileHandled(bench, stage));
  for (const [name, mode] of OWN_MODULE)
    await bench.stage(broker, async (stage) => {
      const port = await freePort();
      const subject = await stage.start('subjects/own-module.ts', { PORT: String(port), ROLES: 'http,relay', BENCH_MODE: mode });
      await postUntilPublished(bench, stage, [{ subject, port }], name);
    });
}

/** In one process that handles the orders' events too, of which there are soon more than it can handle. */
async function postWhileHandled(bench: Bench, stage: Stage): Promise<void> {
  const name = 'POST /orders, group commit, while a backlog is handled';
  const shop = await startShop(stage, { ORDERS_GROUP_COMMIT: 'true' });
  await stage.database.query('UPDATE stock_item SET on_hand = 1000000000');
  await post(bench, stage, [shop], name, 'orders', OUTBOX_BACKLOG);
  const [found] = await stage.database.query(
    "SELECT bool_or(status = 'confirmed') AS handled, count(*) FILTER (WHERE status = 'pending') > 1000 AS backlog FROM orders",
  );
  bench.check(`a backlog that is being handled, of ${name}`, found, { handled: true, backlog: true });
}

async function postUntilPublished(bench: Bench, stage: Stage, servers: readonly Server[], name: string): Promise<void> {
  await post(bench, stage, servers, name, 'orders', OUTBOX_BACKLOG);
  // The SQS emulator takes a few hundred a second: what was written in these seconds would take it minutes.
  if (stage.broker !== 'sqs') await until(stage.database, 'NOT EXISTS (SELECT 1 FROM outbox)');
}

/** The same, the tutorial way. */
export async function postBaseline(bench: Bench, stage: Stage): Promise<void> {
  const port = await freePort();
  const subject = await startBaseline(stage, 'publisher', { PORT: String(port) });
  const backlog = "SELECT count(*) FROM baseline_outbox WHERE status = 'pending'";
  await post(bench, stage, [{ subject, port }], TUTORIAL, 'baseline_order', backlog);
}

/** One measurement over HTTP, of servers that take the requests in turn. */
export async function post(
  bench: Bench,
  stage: Stage,
  servers: readonly Server[],
  name: string,
  orders: string,
  backlogSql: string,
): Promise<void> {
  const count = async (sql: string): Promise<number> => Number((await stage.database.query<{ count: string }>(sql))[0]?.count);
  const backlog = (): Promise<number> => count(backlogSql);
  const ports = servers.map(({ port }) => port);
  await postFor(ports, '/orders', CONNECTIONS, WARM_UP_SECONDS, order);
  const before = { orders: await count(`SELECT count(*) FROM ${orders}`), backlog: await backlog() };
  const { load, cost } = await loaded(stage, servers, '/orders');
  const left = (await backlog()) - before.backlog;
  bench.check(`orders of ${name}`, (await count(`SELECT count(*) FROM ${orders}`)) - before.orders, load.accepted);
  bench.add({
    workload: WORKLOAD,
    name,
    broker: stage.broker,
    value: load.perSecond,
    unit: 'requests/s',
    baseline: TUTORIAL,
    limit: 'bare client, 64 orders a statement',
    ...perEvent(cost, load.accepted),
    note: `p50 ${load.ms.p50.toFixed(1)} ms, p99 ${load.ms.p99.toFixed(1)} ms; ${Math.round((load.accepted - left) / cost.seconds)} published/s meanwhile`,
  });
}

/** The load of a measurement, and what it took. */
async function loaded(stage: Stage, servers: readonly Server[], path: string): Promise<{ load: HttpLoad; cost: Cost }> {
  let load: HttpLoad | undefined;
  const cost = await stage.cost(
    servers.map(({ subject }) => subject),
    async () => {
      load = await postFor(
        servers.map(({ port }) => port),
        path,
        CONNECTIONS,
        SECONDS,
        order,
      );
    },
  );
  return { load: load as HttpLoad, cost };
}

/** What PostgreSQL takes from a client that does nothing else: 64 orders, with items, history and events, in each statement. */
async function limit(bench: Bench, stage: Stage): Promise<void> {
  const pool = new pg.Pool({ connectionString: stage.database.url, max: 4 });
  const rows = 64;
  const end = performance.now() + 4000;
  const start = performance.now();
  let orders = 0;
  const headers = JSON.stringify({
    'content-type': 'application/json',
    ce_specversion: '1.0',
    ce_type: 'commerce.order.placed',
    more: 'x'.repeat(300),
  });
  const payload = JSON.stringify({ text: 'x'.repeat(230) });
  const cost = await stage.cost([], () =>
    Promise.all(
      Array.from({ length: 4 }, async () => {
        while (performance.now() < end) {
          const ids = Array.from({ length: rows }, () => randomUUID());
          await pool.query({
            name: 'limit',
            text: `WITH e AS (SELECT * FROM unnest($1::uuid[], $2::smallint[]) AS e(id, lane)),
              o AS (INSERT INTO orders (id, customer_id, status, total, currency) SELECT id, id, 'pending', 1890, 'EUR' FROM e),
              i AS (INSERT INTO order_item (order_id, position, sku, quantity, unit_price) SELECT id, 1, 'coffee-1kg', 1, 1890 FROM e),
              h AS (INSERT INTO order_history (order_id, position, status) SELECT id, 1, 'pending' FROM e)
              INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload)
              SELECT lane, id, 'commerce.order', 'commerce.order.placed', id::text, $3, $4 FROM e`,
            values: [ids, ids.map((id) => bucketOf(id, 16)), headers, payload],
          });
          orders += rows;
        }
      }),
    ),
  );
  const seconds = (performance.now() - start) / 1000;
  await pool.end();
  const [found] = await stage.database.query('SELECT count(*)::int AS orders FROM orders');
  bench.check('orders of the bare client', found, { orders });
  bench.add({
    workload: WORKLOAD,
    name: 'bare client, 64 orders a statement',
    broker: 'none',
    value: orders / seconds,
    unit: 'requests/s',
    ...perEvent(cost, orders),
  });
}

/** The same requests, parsed, checked and answered, with nothing written: more than that no way to commit can reach. */
async function http(bench: Bench, stage: Stage): Promise<void> {
  const port = await freePort();
  const subject = await stage.start('subjects/own-module.ts', { PORT: String(port), ROLES: 'http' });
  await postFor([port], '/orders/unwritten', CONNECTIONS, WARM_UP_SECONDS, order);
  const { load, cost } = await loaded(stage, [{ subject, port }], '/orders/unwritten');
  bench.add({
    workload: WORKLOAD,
    name: 'HTTP alone, nothing written',
    broker: 'none',
    value: load.perSecond,
    unit: 'requests/s',
    baseline: TUTORIAL,
    ...perEvent(cost, load.accepted),
    note: `p50 ${load.ms.p50.toFixed(1)} ms, p99 ${load.ms.p99.toFixed(1)} ms`,
  });
}

/** The same work with and without an event, inside the process and over HTTP. */
async function outboxCost(bench: Bench): Promise<void> {
  await bench.stage('postgres', async (stage) => {
    const subject = await stage.start('subjects/waybill.ts', { BENCH_NULL_BROKER: '1', ROLES: 'http' });
    for (const [name, inGroups] of [
      ['what the event costs a transaction', false],
      ['what the event costs one of a group', true],
    ] as const)
      await difference(bench, name, (withEvent) =>
        subject.call<number>('insert', { count: inGroups ? 6000 : 1500, atOnce: CONNECTIONS, withEvent, inGroups }),
      );
  });
  for (const [name, mode] of [
    ['what the event costs a request, a transaction each', 'single'],
    ['what the event costs a request, commits grouped', 'grouped'],
  ] as const)
    await bench.stage('postgres', async (stage) => {
      const port = await freePort();
      await stage.start('subjects/own-module.ts', { PORT: String(port), ROLES: 'http', BENCH_MODE: mode });
      await postFor([port], '/orders', CONNECTIONS, WARM_UP_SECONDS, order);
      await difference(bench, name, async (withEvent) => {
        const load = await postFor([port], withEvent ? '/orders' : '/orders/unannounced', CONNECTIONS, SECONDS / 4, order);
        return load.perSecond;
      });
    });
}

/** In turns, so that the machine's moods reach both. */
async function difference(bench: Bench, name: string, rateOf: (withEvent: boolean) => Promise<number>): Promise<void> {
  const rates: { alone: number[]; withEvent: number[] } = { alone: [], withEvent: [] };
  for (let round = 0; round < 6; round++) {
    for (const [kind, withEvent] of [
      ['alone', false],
      ['withEvent', true],
    ] as const) {
      const rate = await rateOf(withEvent);
      if (round > 1) rates[kind].push(rate);
    }
  }
  const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [alone, withEvent] = [mean(rates.alone), mean(rates.withEvent)];
  bench.add({
    workload: WORKLOAD,
    name,
    broker: 'none',
    value: (1 - withEvent / alone) * 100,
    unit: '%',
    note: `${Math.round(alone)}/s alone, ${Math.round(withEvent)}/s with an event`,
  });
}
