import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { DatabasePool } from '../../src/database/database-pool.js';
import { LowWater } from '../../src/messaging/outbox/low-water.js';
import { OutboxTable } from '../../src/messaging/outbox/outbox-table.js';
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
    lowWater = new LowWater(pool);
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
});
