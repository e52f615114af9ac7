import { expect } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { BrokerName } from '../../src/config/config.js';
import { Money } from '../../src/http/index.js';
import { OutboxTable } from '../../src/messaging/outbox/outbox-table.js';
import { OrderPlaced } from '../../src/modules/order/order.events.js';
import { DatabasePool } from '../../src/database/database-pool.js';
import { AppProcess } from '../support/app-process.js';
import { serverOf } from '../support/brokers-under-test.js';
import { eventually } from '../support/eventually.js';
import type { Instance, World } from '../support/world.js';
import { fault } from './fault.js';
import { inWorld, range, remember } from './in-world.js';

/** Events that a load keeps on their way. */
const MOST_WAITING = 1000;

interface Relays {
  readonly world: World;
  readonly consumer: Instance;
  /** For each order, the numbers of its events in the order in which they were first handled. */
  readonly seen: Map<string, number[]>;
  /** One more relay, in a process of its own. */
  start(): Promise<AppProcess>;
  /** Commits the n-th event of each order. */
  emit(orders: readonly string[], n: number): Promise<void>;
  owners(): Promise<(string | null)[]>;
}

/** Relays as processes of the built application, which a test may freeze and kill; what they publish is consumed here. */
async function withRelays(broker: BrokerName, work: (relays: Relays) => Promise<void>): Promise<void> {
  const namespace = `r${randomUUID().slice(0, 8)}`;
  const processes: AppProcess[] = [];
  await inWorld(broker, { BROKER_NAMESPACE: namespace, OUTBOX_LEASE_MS: '1000' }, async (world) => {
    const seen = new Map<string, number[]>();
    const consumer = await world.start(
      [
        {
          group: 'inventory',
          topic: 'commerce.order',
          type: 'commerce.order.placed',
          handle: async ({ data }, { once }) => {
            const placed = data as unknown as OrderPlaced;
            await once(async () => remember(seen, { thingId: placed.orderId, n: placed.total.amount }));
          },
        },
      ],
      { roles: ['consumers'] },
    );
    const start = async (): Promise<AppProcess> => {
      const relay = await AppProcess.start({
        ...(broker === 'postgres' ? {} : (await serverOf(broker)).env),
        BROKER: broker,
        BROKER_NAMESPACE: namespace,
        DATABASE_URL: world.database.url,
        OUTBOX_LEASE_MS: '1000',
        ROLES: 'relay',
      });
      processes.push(relay);
      return relay;
    };
    const emit = async (orders: readonly string[], n: number): Promise<void> => {
      const customerId = randomUUID();
      await world.emit(
        consumer,
        orders.map((orderId) =>
          OrderPlaced.of({
            orderId,
            customerId,
            items: [{ sku: 'a', quantity: 1 }],
            total: Money.of(BigInt(n), 'EUR'),
            paymentToken: 'tok_ok',
          }),
        ),
        true,
      );
    };
    const owners = async (): Promise<(string | null)[]> => {
      const { lanes } = await consumer.status.outbox();
      return [...new Set(lanes.map(({ owner }) => owner))];
    };
    try {
      await work({ world, consumer, seen, start, emit, owners });
    } finally {
      for (const relay of processes) {
        relay.child.kill('SIGCONT');
        await relay.end('SIGKILL');
      }
    }
  });
}

/** What the system says of a process: `T` is stopped. */
const stateOf = (relay: AppProcess): string =>
  execFileSync('ps', ['-o', 'state=', '-p', String(relay.child.pid)], { encoding: 'utf8' }).trim();

fault(
  'P11',
  'a relay that was frozen past its lease comes back and neither loses nor reorders anything',
  { slow: ['rabbitmq', 'sqs'], timeoutMs: 120_000 },
  (broker) =>
    withRelays(broker, async ({ seen, start, emit, owners, world }) => {
      const frozen = await start();
      await start();
      await eventually(async () => expect(await owners()).toHaveLength(2));
      const orders = range(20).map(() => randomUUID());
      let emitted = 0;
      let enough = false;
      const handled = (): number => [...seen.values()].reduce((sum, { length }) => sum + length, 0);
      const load = (async () => {
        while (!enough) {
          await emit(orders, emitted++);
          // Always something to publish, and never so much that its end has to be waited for.
          while (!enough && orders.length * emitted - handled() > MOST_WAITING) await setTimeout(5);
        }
      })();
      try {
        for (let time = 0; time < 2; time++) {
          await eventually(async () => expect(await owners()).toHaveLength(2));
          const [before] = [handled()];
          await eventually(() => expect(handled()).toBeGreaterThan(before + 20));
          frozen.child.kill('SIGSTOP');
          await eventually(() => expect(stateOf(frozen)).toMatch(/^T/));
          await eventually(async () => {
            const now = await owners();
            expect(now).toHaveLength(1); // the other one has every lane
            expect(now[0]).not.toBeNull();
          });
          const [then] = [handled()];
          await eventually(() => expect(handled()).toBeGreaterThan(then + 100));
          frozen.child.kill('SIGCONT');
        }
        await eventually(async () => expect(await owners()).toHaveLength(2));
      } finally {
        enough = true;
        await load;
      }
      await eventually(() => expect(handled()).toBe(orders.length * emitted), { timeoutMs: 60_000 });
      for (const order of orders) expect(seen.get(order)).toEqual(range(emitted));
      await eventually(async () => expect(await world.count('outbox')).toBe(0));
      expect(frozen.hasEnded).toBe(false);
    }),
);

fault('P11', 'a relay without the lease on a lane parks nothing of it', { on: ['any'] }, () =>
  inWorld('postgres', {}, async (world) => {
    const writer = await world.start([], { roles: ['http'] });
    const table = new OutboxTable(writer.app.get(DatabasePool));
    const key = randomUUID();
    await world.database.query(
      `INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload) VALUES (3, gen_random_uuid(), 'a.b', 'a.b.c', $1, '{}', '{}')`,
      [key],
    );
    await world.database.query(
      `INSERT INTO lane_lease (pool, lane, owner, leased_until) VALUES ('outbox', 3, 'frozen', now() - interval '1 second')
       ON CONFLICT (pool, lane) DO UPDATE SET owner = excluded.owner, leased_until = excluded.leased_until`,
    );
    const [row] = await table.read([3], ['0'], 10, [], []);
    expect(await table.park(row as NonNullable<typeof row>, 'park', 'too late', 'frozen')).toBe(0);
    expect([await world.count('outbox'), await world.count('outbox_parked')]).toEqual([1, 0]);
    await world.database.query(`UPDATE lane_lease SET leased_until = now() + interval '1 minute' WHERE pool = 'outbox' AND lane = 3`);
    expect(await table.park(row as NonNullable<typeof row>, 'park', 'in time', 'frozen')).toBe(1);
    expect([await world.count('outbox'), await world.count('outbox_parked')]).toEqual([0, 1]);
  }),
);

fault(
  'R2',
  'a relay that is killed in the middle of thousands of publishes has deleted nothing that was not confirmed',
  { slow: true, timeoutMs: 300_000 },
  (broker) =>
    withRelays(broker, async ({ seen, start, world }) => {
      const total = broker === 'sqs' ? 2000 : 20_000; // the others take thousands in a blink
      await world.database.query(
        `INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload)
       SELECT n % 16, e.id, 'commerce.order', 'commerce.order.placed', e.key,
         json_build_object('content-type', 'application/json', 'ce_specversion', '1.0', 'ce_id', e.id, 'ce_source', 'urn:test', 'ce_type', 'commerce.order.placed',
           'ce_subject', e.key, 'ce_partitionkey', e.key, 'ce_time', now(), 'ce_correlationid', e.id)::text,
         json_build_object('orderId', e.key, 'customerId', e.id, 'items', json_build_array(json_build_object('sku', 'a', 'quantity', 1)),
           'total', json_build_object('amount', n, 'currency', 'EUR'), 'paymentToken', 'tok_ok')::text
       FROM generate_series(1, $1::int) AS n, LATERAL (SELECT gen_random_uuid() AS id, gen_random_uuid()::text AS key WHERE n > 0) AS e`,
        [total],
      );
      const victim = await start();
      await eventually(async () => {
        const left = await world.count('outbox');
        expect(left).toBeLessThan(total);
        expect(left).toBeGreaterThan(0);
      });
      expect(await victim.end('SIGKILL')).toBe('SIGKILL');
      const left = await world.count('outbox');
      expect(left).toBeGreaterThan(0); // it was in the middle
      await start();
      await eventually(async () => expect(await world.count('outbox')).toBe(0), { timeoutMs: 120_000 });
      await eventually(() => expect(seen.size).toBe(total), { timeoutMs: 120_000, everyMs: 100 });
      expect(await world.deadLetters()).toEqual([]);
    }),
);
