import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import type { DatabasePool } from '../../src/database/database-pool.js';
import { OutboxTable } from '../../src/messaging/outbox/outbox-table.js';
import { stopServers } from '../support/brokers-under-test.js';
import { freshDatabase, type FreshDatabase } from '../support/fresh-database.js';

const LANES = Array.from({ length: 16 }, (_, lane) => lane);
const PER_LANE = 1500;
const BATCH = 80;

/** A look at the head of a backlog must cost the same however long it is, whatever PostgreSQL's statistics believe. */
describe('the head of each lane', () => {
  let fresh: FreshDatabase;
  let client: pg.Client;

  /** Entries of a table and of its indexes that were read for this. */
  const entriesFor = async (table: string, work: () => Promise<unknown>): Promise<number> => {
    const sum = async (): Promise<number> => {
      await client.query('SELECT pg_stat_force_next_flush()');
      const { rows } = await client.query<{ read: string }>(
        `SELECT seq_tup_read + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = $1) AS read
         FROM pg_stat_user_tables WHERE relname = $1`,
        [table],
      );
      return Number(rows[0]?.read);
    };
    const before = await sum();
    await work();
    return (await sum()) - before;
  };
  const rows = `gen_random_uuid(), 'a.thing', 'a.thing.happened', 'k' || n % 100, repeat('x', 400)`;
  const fillOutbox = () =>
    client.query(
      `INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload)
       SELECT n % ${LANES.length}, ${rows}, '{}' FROM generate_series(1, ${LANES.length * PER_LANE}) AS n`,
    );
  const fillQueue = (queue: string, count: number) =>
    client.query(
      `INSERT INTO queued_message (queue, lane, id, event_id, topic, type, key, headers, payload, created_at)
       SELECT $1, n % ${LANES.length}, nextval('outbox_id_seq'), ${rows}, '{}', now() FROM generate_series(1, $2::int) AS n`,
      [queue, count],
    );

  beforeEach(async () => {
    fresh = await freshDatabase();
    client = new pg.Client({ connectionString: fresh.url });
    await client.connect();
    await client.query('SET random_page_cost = 100'); // the planner shuns indexes, as it may for reasons of its own
  });
  afterEach(async () => {
    await client.end();
    await fresh.drop();
  });
  afterAll(() => stopServers());

  describe.each(['never taken', 'of an empty table', 'of now'])('with statistics that are %s', (statistics) => {
    const around = async (table: string, fill: () => Promise<unknown>): Promise<void> => {
      if (statistics === 'of an empty table') await client.query(`VACUUM ANALYZE ${table}`);
      await fill();
      if (statistics === 'of now') await client.query(`ANALYZE ${table}`);
    };

    it('is read from the outbox without what is behind it', async () => {
      await around('outbox', fillOutbox);
      const pool = { query: async (text: string, values?: unknown[]) => (await client.query(text, values)).rows };
      const table = new OutboxTable(pool as unknown as DatabasePool);
      const lows = LANES.map(() => '0');
      const batch = await table.read(LANES, lows, BATCH, [], []);
      expect(batch).toHaveLength(BATCH);
      const ids = batch.map(({ id }) => id);
      let next: readonly { id: string }[] = [];
      const read = await entriesFor('outbox', async () => (next = await table.read(LANES, lows, BATCH, ids, ['a.thing:k5'])));
      expect(next).toHaveLength(BATCH);
      expect(next.filter(({ id }) => ids.includes(id))).toEqual([]);
      expect(read).toBeLessThan(3 * BATCH);
      const through = () => client.query('SELECT count(payload) FROM outbox');
      expect(await entriesFor('outbox', through)).toBe(LANES.length * PER_LANE); // so more would be seen
    });

    it('is read from a queue without what is behind it', async () => {
      await around('queued_message', async () => {
        await fillQueue('one', LANES.length * PER_LANE);
        await fillQueue('two', 1000);
      });
      const head = async (inHand: readonly string[]): Promise<string[]> => {
        const { rows } = await client.query<{ id: string }>(
          'SELECT id FROM queue_head($1, $2::smallint[], $3::bigint[], $4, $5::bigint[])',
          ['one', LANES, LANES.map(() => 0), BATCH / LANES.length, inHand],
        );
        return rows.map(({ id }) => id);
      };
      const batch = await head([]);
      expect(batch).toHaveLength(BATCH);
      let next: readonly string[] = [];
      const read = await entriesFor('queued_message', async () => (next = await head(batch)));
      expect(next).toHaveLength(BATCH);
      expect(next.filter((id) => batch.includes(id))).toEqual([]);
      expect(read).toBeLessThan(3 * BATCH);
    });

    it('is moved into the queues without what is behind it', async () => {
      await around('outbox', fillOutbox);
      const head = () =>
        client.query('SELECT lane, id FROM outbox_head_of_topics($1::smallint[], $2::bigint[], $3, $4::text[], $5::text[])', [
          LANES,
          LANES.map(() => 0),
          BATCH / LANES.length,
          ['a.thing'],
          [],
        ]);
      expect((await head()).rows).toHaveLength(BATCH);
      expect(await entriesFor('outbox', head)).toBeLessThan(3 * BATCH);
    });
  });
});
