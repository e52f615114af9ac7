import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { DatabasePool } from '../../src/database/database-pool.js';
import { LowWater } from '../../src/messaging/lane/low-water.js';
import { OUTBOX_LANES, OutboxTable } from '../../src/messaging/outbox/outbox-table.js';
import { lanesOf } from '../../src/messaging/transport/postgres/postgres.subscription.js';
import { stopServers } from '../support/brokers-under-test.js';
import { eventually } from '../support/eventually.js';
import { freshDatabase, type FreshDatabase } from '../support/fresh-database.js';

const LANES = [0, 1];

describe('where the lanes begin', () => {
  let fresh: FreshDatabase;
  let pool: DatabasePool;
  let lowWater: LowWater;
  const clients: pg.Client[] = [];

  const session = async (): Promise<pg.Client> => {
    const client = new pg.Client({ connectionString: fresh.url });
    await client.connect();
    clients.push(client);
    return client;
  };
  const write = async (on: Pick<pg.Client, 'query'>, lane: number, rows = 1): Promise<string[]> =>
    (
      await on.query<{ id: string }>(
        `INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload)
         SELECT $1, gen_random_uuid(), 'a.thing', 'a.thing.happened', $2, '{}', '{}' FROM generate_series(1, $3::int) RETURNING id`,
        [lane, randomUUID(), rows],
      )
    ).rows.map(({ id }) => id);
  const anywhere = { query: async (text: string, values?: unknown[]) => ({ rows: await fresh.query(text, values) }) } as never;
  /** Asks as a relay does that has just deleted many rows. */
  const marks = (): Promise<string[]> => {
    lowWater.pass(2000);
    return lowWater.of(LANES);
  };
  const settled = async (lows: readonly string[]): Promise<void> => {
    await eventually(async () => expect(await marks()).toEqual(lows));
    for (let time = 0; time < 3; time++) await eventually(async () => expect(await marks()).toEqual(lows));
  };

  beforeEach(async () => {
    fresh = await freshDatabase();
    pool = { query: (text: string, values?: unknown[]) => fresh.query(text, values) } as unknown as DatabasePool;
    lowWater = new LowWater(pool, OUTBOX_LANES);
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.end()));
    await fresh.drop();
  });
  afterAll(() => stopServers());

  it('is their first row, or behind the last id that was issued', async () => {
    await settled(['1', '1']);
    const [first, second] = await write(anywhere, 0, 3);
    await settled([first as string, '4']);
    await fresh.query('DELETE FROM outbox WHERE id = $1', [first]);
    await settled([second as string, '4']);
    await fresh.query('DELETE FROM outbox');
    await settled(['4', '4']);
  });

  it('is not looked for before many rows have gone, and is forgotten on demand', async () => {
    await write(anywhere, 0, 3);
    expect(await lowWater.of(LANES)).toEqual(['0', '0']);
    await settled(['1', '4']);
    lowWater.forget();
    expect(await lowWater.of(LANES)).toEqual(['0', '0']);
  });

  it('never passes an id that a transaction under way has taken, even when the table was empty for it', async () => {
    const late = await session();
    await late.query('BEGIN');
    const [id] = await write(late, 0); // taken, and not to be seen
    await write(anywhere, 0, 5);
    await write(anywhere, 1, 5);
    await fresh.query('DELETE FROM outbox');
    for (let time = 0; time < 5; time++) {
      for (const low of await marks()) expect(Number(low)).toBeLessThanOrEqual(Number(id));
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
    await late.query('COMMIT');
    await settled([id as string, '12']);
    const rows = await new OutboxTable(pool).read(LANES, await lowWater.of(LANES), 10, [], []);
    expect(rows.map((row) => row.id)).toEqual([id]);
  });

  it('passes the ids of a transaction that was rolled back', async () => {
    const late = await session();
    await late.query('BEGIN');
    await write(late, 0);
    await marks();
    await late.query('ROLLBACK');
    await settled(['2', '2']);
  });

  it('does not pass a row that was parked, which an operator may put back in its old place', async () => {
    const [parked] = await write(anywhere, 1);
    await write(anywhere, 1, 4);
    await fresh.query(
      `WITH taken AS (DELETE FROM outbox WHERE id = $1 RETURNING *)
       INSERT INTO outbox_parked (id, lane, event_id, topic, type, key, headers, payload, created_at, reason, policy)
       SELECT id, lane, event_id, topic, type, key, headers, payload, created_at, 'refused', 'park' FROM taken`,
      [parked],
    );
    await fresh.query('DELETE FROM outbox');
    await settled(['6', parked as string]);
  });

  it('lets a batch be read without a walk over deleted rows that an old snapshot keeps', async () => {
    const old = await session();
    await old.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await old.query('SELECT 1 FROM outbox');
    await write(anywhere, 0, 20_000);
    await fresh.query('DELETE FROM outbox');
    const [next] = await write(anywhere, 0, 10);
    await settled([next as string, '20011']);

    let plan: { Plan: { 'Shared Hit Blocks': number; 'Shared Read Blocks': number } }[] = [];
    const explaining = {
      query: async (text: string, values: unknown[]) => {
        const [row] = await fresh.query<{ 'QUERY PLAN': typeof plan }>(`EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${text}`, values);
        plan = row?.['QUERY PLAN'] ?? [];
        return [];
      },
    } as unknown as DatabasePool;
    const blocks = async (lows: readonly string[]): Promise<number> => {
      await new OutboxTable(explaining).read(LANES, lows, 500, [], []);
      return (plan[0]?.Plan['Shared Hit Blocks'] ?? NaN) + (plan[0]?.Plan['Shared Read Blocks'] ?? NaN);
    };
    expect(await blocks(['0', '0'])).toBeGreaterThan(200); // they are there, and in the way
    expect(await blocks(await lowWater.of(LANES))).toBeLessThan(30);
  });

  describe('of a queue', () => {
    const QUEUE = 'one.a.thing';
    const FROM_OUTBOX = `
      WITH taken AS (DELETE FROM outbox WHERE id = ANY($1::bigint[]) RETURNING *)
      INSERT INTO queued_message (queue, lane, id, event_id, topic, type, key, headers, payload, created_at)
      SELECT '${QUEUE}', lane, id, event_id, topic, type, key, headers, convert_to(payload, 'UTF8'), created_at FROM taken`;
    const move = (...ids: readonly unknown[]) => fresh.query(FROM_OUTBOX, [ids]);
    const handle = (...ids: readonly unknown[]) => fresh.query('DELETE FROM queued_message WHERE id = ANY($1::bigint[])', [ids]);

    beforeEach(() => {
      lowWater = new LowWater(pool, lanesOf(QUEUE));
    });

    it('is its first row there, or the first that is still to come from the outbox, or behind the last id that was issued', async () => {
      const [one, two, three] = await write(anywhere, 0, 3);
      await settled([one as string, '4']);
      await move(one, two);
      await settled([one as string, '4']);
      await handle(one);
      await settled([two as string, '4']);
      await handle(two);
      await settled([three as string, '4']);
      await move(three);
      await handle(three);
      await settled(['4', '4']);
    });

    it('is not behind a row that overtook another into the queue', async () => {
      const [first, second] = await write(anywhere, 0, 2);
      await move(second);
      await handle(second);
      await settled([first as string, '3']);
    });

    it('never passes an id that a transaction under way has taken, for the outbox or for the queue itself', async () => {
      for (const [statement, at] of [
        [
          `INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload) VALUES (0, gen_random_uuid(), 'a.thing', 'a.thing.happened', 'k', '{}', '{}') RETURNING id`,
          0,
        ],
        [
          `INSERT INTO queued_message (queue, lane, id, event_id, topic, type, key, headers, payload, created_at)
           VALUES ('${QUEUE}', 1, nextval('outbox_id_seq'), gen_random_uuid(), 'a.thing', 'a.thing.happened', 'k', '{}', '{}', now()) RETURNING id`,
          1,
        ],
      ] as const) {
        const late = await session();
        await late.query('BEGIN');
        const taken = (await late.query<{ id: string }>(statement)).rows[0]?.id as string;
        const ids = await write(anywhere, 0, 5);
        await move(...ids);
        await handle(...ids);
        for (let time = 0; time < 5; time++) {
          for (const low of await marks()) expect(Number(low)).toBeLessThanOrEqual(Number(taken));
          await new Promise((resolve) => setTimeout(resolve, 60)); // longer than it waits before it looks again
        }
        await late.query('COMMIT');
        await eventually(async () => expect((await marks())[at]).toBe(taken));
        await move(taken);
        await handle(taken);
      }
    });

    it('does not pass a row that was parked on its way', async () => {
      const [parked] = await write(anywhere, 1);
      await write(anywhere, 1, 4);
      await fresh.query(
        `WITH taken AS (DELETE FROM outbox WHERE id = $1 RETURNING *)
         INSERT INTO outbox_parked (id, lane, event_id, topic, type, key, headers, payload, created_at, reason, policy)
         SELECT id, lane, event_id, topic, type, key, headers, payload, created_at, 'refused', 'park' FROM taken`,
        [parked],
      );
      await fresh.query('DELETE FROM outbox');
      await settled(['6', parked as string]);
    });

    it('lets it be read without a walk over deleted rows that an old snapshot keeps', async () => {
      const old = await session();
      await old.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
      await old.query('SELECT 1 FROM queued_message');
      const ids = await write(anywhere, 0, 20_000);
      await move(...ids);
      await handle(...ids);
      const [next] = await write(anywhere, 0, 10);
      await move(next);
      await settled([next as string, '20011']);
      const blocks = async (lows: readonly string[]): Promise<number> => {
        const [row] = await fresh.query<{ 'QUERY PLAN': { Plan: Record<string, number> }[] }>(
          'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM queue_head($1, $2::smallint[], $3::bigint[], 10, $4::bigint[])',
          [QUEUE, LANES, lows, []],
        );
        const { Plan } = row?.['QUERY PLAN'][0] ?? { Plan: {} };
        return (Plan['Shared Hit Blocks'] ?? NaN) + (Plan['Shared Read Blocks'] ?? NaN);
      };
      expect(await blocks(['0', '0'])).toBeGreaterThan(200); // they are there, and in the way
      expect(await blocks(await lowWater.of(LANES))).toBeLessThan(30);
    });
  });
});
