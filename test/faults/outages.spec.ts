import { expect } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { startServer, type Server } from '../../scripts/servers/index.mjs';
import type { BrokerName } from '../../src/config/config.js';
import type { AppProcess } from '../support/app-process.js';
import { eventually } from '../support/eventually.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { thing } from '../support/things.js';
import { fault } from './fault.js';
import { inWorld, range, recorder } from './in-world.js';
import { RunningShop } from './running-shop.js';

/** Does the work with a server that it may stop. */
async function withServer(name: BrokerName, work: (server: Server) => Promise<void>): Promise<void> {
  const server = await startServer(name);
  try {
    await work(server);
  } finally {
    server.thaw();
    await server.dispose();
  }
}

const readiness = async (app: AppProcess): Promise<{ status: number; detail: string }> => {
  const { status, body } = await app.get('/health/ready');
  return { status, detail: String(body['detail'] ?? '') };
};

const isReady = (app: AppProcess, timeoutMs = 30_000): Promise<void> =>
  eventually(async () => expect((await readiness(app)).status).toBe(200), { timeoutMs, everyMs: 100 });

/** Orders, one after the other, for as long as the fault lasts; answers the statuses. */
async function orderFor(shop: RunningShop, app: AppProcess, ms: number): Promise<number[]> {
  const statuses: number[] = [];
  for (const until = performance.now() + ms; performance.now() < until;) {
    await shop.place(app, 'tok_ok');
    statuses.push(shop.history.operations.at(-1)?.status ?? 0);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return statuses;
}

/** The broker is gone for so long, under load. */
function outage(ms: number): (broker: BrokerName) => Promise<void> {
  return (broker) =>
    withServer(broker, (server) =>
      RunningShop.with(broker, server.env, async (shop) => {
        const app = await shop.start();
        await shop.ends(app, await shop.place(app), 'confirmed');
        await server.kill();
        await eventually(async () =>
          expect(await readiness(app)).toMatchObject({ status: 503, detail: expect.stringMatching(/broker: \S+/) }),
        );
        const [at] = [shop.history.operations.length];
        const statuses = await orderFor(shop, app, ms);
        expect(new Set(statuses)).toEqual(new Set([202])); // orders are taken all the time
        expect(shop.history.operations.length - at).toBeGreaterThan(ms / 1000);
        await eventually(async () => expect(await shop.metric(app, 'waybill_outbox_backlog')).toBeGreaterThanOrEqual(statuses.length));
        expect(await shop.metric(app, 'waybill_outbox_oldest_age_seconds')).toBeGreaterThan((ms / 1000) * 0.8);
        expect(await shop.metric(app, 'waybill_broker_up')).toBe(0);
        const aside = await shop.database.query('SELECT 1 FROM outbox_held_key UNION ALL SELECT 1 FROM outbox_parked');
        expect(aside).toEqual([]); // no row is to blame
        await server.start();
        const since = performance.now();
        await isReady(app, 60_000);
        await shop.expectHealed(app, { since });
        expect(await shop.database.query('SELECT 1 FROM parked_event')).toEqual([]);
        expect(app.output).not.toMatch(/"attempt":[2-9]/);
        expect(app.hasEnded).toBe(false);
      }),
    );
}

fault('P3', 'the broker is away for 15 seconds under load', { slow: true, timeoutMs: 180_000 }, outage(15_000));
fault('P3', 'the broker is away for three minutes under load', { long: true, timeoutMs: 480_000 }, outage(180_000));

fault('P4', 'the database ends every connection, is killed, and freezes', { slow: true, timeoutMs: 240_000 }, (broker) =>
  withServer('postgres', (server) => {
    const url = server.env['DATABASE_URL'] as string;
    return RunningShop.with(
      broker,
      {},
      async (shop) => {
        const app = await shop.start();
        await shop.ends(app, await shop.place(app), 'confirmed');
        for (let time = 0; time < 3; time++) {
          const load = orderFor(shop, app, 2000);
          const ended = await shop.database.query(
            `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'waybill%'`,
          );
          expect(ended.length).toBeGreaterThan(2);
          await load;
        }
        await isReady(app);

        await server.kill();
        await eventually(async () =>
          expect(await readiness(app)).toMatchObject({ status: 503, detail: expect.stringMatching(/database: \S+/) }),
        );
        await shop.place(app);
        expect(shop.history.operations.at(-1)).toMatchObject({ status: 503 });
        await server.start();
        await isReady(app);

        server.freeze();
        const load = orderFor(shop, app, 3000);
        await eventually(async () => expect((await readiness(app)).status).toBe(503), { timeoutMs: 30_000 });
        await load;
        server.thaw();
        const since = performance.now();
        await isReady(app);
        await shop.expectHealed(app, { since });
        expect(app.hasEnded).toBe(false);
      },
      url,
    );
  }),
);

fault(
  'P5',
  'connections to the database go silent, the listening one too, and are broken later',
  { slow: true, timeoutMs: 240_000 },
  (broker) =>
    RunningShop.with(broker, {}, async (shop) => {
      const proxy = await TcpProxy.start({ port: Number(new URL(shop.database.url).port) });
      try {
        const app = await shop.start({ DATABASE_URL: proxy.through(shop.database.url) });
        await shop.ends(app, await shop.place(app), 'confirmed');
        await proxy.set('blackhole');
        await eventually(async () => expect((await readiness(app)).status).toBe(503), { timeoutMs: 30_000 });
        const asked = performance.now();
        await shop.place(app);
        expect(shop.history.operations.at(-1)).toMatchObject({ status: 503 }); // an answer, not a hang
        expect(performance.now() - asked).toBeLessThan(15_000);
        expect(proxy.counts.bytesHeld).toBeGreaterThan(0);
        await proxy.set('reset');
        await proxy.set('ok');
        const since = performance.now();
        await isReady(app);
        const { connections } = proxy.counts;
        await shop.placeMany(app, 10);
        await shop.expectHealed(app, { since });
        expect(connections).toBeGreaterThan(3);
        await eventually(async () => {
          const listening = await shop.database.query(
            `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'waybill-listen' AND backend_start > now() - $1 * interval '1 ms'`,
            [performance.now() - since],
          );
          expect(listening.length).toBeGreaterThanOrEqual(1); // it listens again
        });
      } finally {
        await proxy.end();
      }
    }),
);

fault('P9', 'one instance is ten minutes ahead of the database, another ten minutes behind', { slow: true, timeoutMs: 120_000 }, (broker) =>
  RunningShop.with(broker, {}, async (shop) => {
    const clock = new URL('../support/skewed-clock.mjs', import.meta.url).href;
    const skewed = (ms: number): Promise<AppProcess> => shop.start({ NODE_OPTIONS: `--import=${clock}`, CLOCK_SKEW_MS: String(ms) });
    const [ahead, behind] = [await skewed(600_000), await skewed(-600_000)];
    for (const token of ['tok_ok', 'tok_flaky', 'tok_declined']) {
      await shop.placeMany(ahead, 5, token);
      await shop.placeMany(behind, 5, token);
    }
    await shop.expectHealed(behind);
    const offsets = await shop.database.query<{ minutes: number }>(
      `SELECT DISTINCT round(extract(epoch FROM (headers ->> 'ce_time')::timestamptz - at) / 60)::int AS minutes FROM observed.published
       WHERE type = 'commerce.order.placed' ORDER BY 1`,
    );
    expect(offsets.map(({ minutes }) => minutes)).toEqual([-10, 10]); // so the clocks were wrong
    const [lease] = await shop.database.query<{ longest: number }>(
      `SELECT max(extract(epoch FROM leased_until - now()))::float8 AS longest FROM lane_lease`,
    );
    expect(lease?.longest).toBeLessThanOrEqual(2); // by the database's clock
    for (const app of [ahead, behind]) expect(app.output).toContain("this machine's clock and the database's differ");
    await ahead.end('SIGKILL');
    await shop.placeMany(behind, 5);
    await shop.expectHealed(behind); // what it held is free by the database's clock
  }),
);

fault(
  'P13',
  'requests that find no connection are refused in time, the relay goes on, and handlers that ask twice do not deadlock',
  { slow: true, timeoutMs: 120_000 },
  async (broker) => {
    await RunningShop.with(broker, { DATABASE_POOL_SIZE: '2', DATABASE_TRANSACTION_TIMEOUT_MS: '2000' }, async (shop) => {
      const app = await shop.start();
      const blocker = new pg.Client({ connectionString: shop.database.url });
      await blocker.connect();
      await blocker.query('BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE');
      await shop.placeMany(app, 20);
      expect(new Set(shop.history.operations.map(({ status }) => status))).toEqual(new Set([503]));
      const items = [{ sku: 'widget', quantity: 1 }];
      const { status, headers } = await app.post('/orders', { customerId: randomUUID(), items, paymentToken: 'tok_ok' });
      expect({ status, after: Number(headers.get('retry-after')) }).toEqual({ status: 503, after: expect.any(Number) });
      await shop.database.query(
        `INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload) VALUES (0, gen_random_uuid(), 'commerce.payment.DLT', 'test', 'k', '{}', '{}')`,
      );
      await eventually(async () => expect(await shop.database.query('SELECT 1 FROM outbox')).toEqual([])); // it has connections of its own
      await blocker.query('ROLLBACK');
      await blocker.end();
      await shop.expectHealed(app);
    });
    await inWorld(
      broker,
      { DATABASE_POOL_SIZE: '2', CONSUMER_CONCURRENCY: '50', DATABASE_TRANSACTION_TIMEOUT_MS: '1000' },
      async (world) => {
        const seen = new Map<string, number[]>();
        let nested = true;
        let starved = 0;
        const instance = await world.start([
          recorder(seen, {
            handle: async ({ data }, { once }) =>
              once(async () => {
                // A second connection while the first is held: with two in the pool and fifty handlers, nobody gets one.
                if (nested)
                  await instance.database.prisma.$queryRaw`SELECT 1 AS one`.catch((error: unknown) => {
                    starved++;
                    throw error;
                  });
                seen.set(data.thingId, [data.n]);
              }),
          }),
        ]);
        await world.emit(
          instance,
          range(50).map((n) => thing(randomUUID(), n)),
          true,
        );
        await eventually(() => expect(starved).toBeGreaterThanOrEqual(2));
        nested = false;
        await eventually(async () => expect(await world.count('inbox')).toBe(50), { timeoutMs: 60_000 });
        expect(await world.deadLetters()).toEqual([]);
      },
    );
  },
);
