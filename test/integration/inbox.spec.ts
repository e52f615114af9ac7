import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { DatabasePool } from '../../src/database/database-pool.js';
import type { Database } from '../../src/database/database.js';
import { Inbox } from '../../src/messaging/consumer/inbox.js';
import { stopServers } from '../support/brokers-under-test.js';
import { freshDatabase, type FreshDatabase } from '../support/fresh-database.js';

const ROWS = 50_000;

describe('the look into the inbox', () => {
  let fresh: FreshDatabase;
  let client: pg.Client;
  let inbox: Inbox;

  /** Entries of the inbox and of its indexes that have been read so far. */
  const read = async (): Promise<number> => {
    await client.query('SELECT pg_stat_force_next_flush()');
    const { rows } = await client.query<{ read: string }>(
      `SELECT seq_tup_read + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'inbox') AS read
       FROM pg_stat_user_tables WHERE relname = 'inbox'`,
    );
    return Number(rows[0]?.read);
  };
  const handled = async (count: number): Promise<string[]> => {
    const { rows } = await client.query<{ id: string }>(
      "INSERT INTO inbox (group_name, event_id) SELECT 'one', gen_random_uuid() FROM generate_series(1, $1::int) RETURNING event_id AS id",
      [count],
    );
    return rows.map(({ id }) => id);
  };

  beforeEach(async () => {
    fresh = await freshDatabase();
    client = new pg.Client({ connectionString: fresh.url });
    await client.connect();
    const pool = { query: async (text: string, values?: unknown[]) => (await client.query(text, values)).rows };
    inbox = new Inbox({} as Database, pool as unknown as DatabasePool);
  });
  afterEach(async () => {
    await client.end();
    await fresh.drop();
  });
  afterAll(() => stopServers());

  it('tells for each event whether its group is done with it, and whether its key is held up', async () => {
    const [done] = (await handled(1)) as [string];
    const dead = randomUUID();
    await client.query(
      `INSERT INTO dead_letter (id, seq, group_name, topic, key, event_id, type, headers, payload, attempts, reason, error, state)
       VALUES (gen_random_uuid(), 1, 'one', 'a.thing', 'dead', $1, 'a.thing.happened', '{}', '', 3, 'invalid', 'cannot', 'open')`,
      [dead],
    );
    await client.query("INSERT INTO parked_key (group_name, topic, key, next_attempt_at) VALUES ('one', 'a.thing', 'parked', now())");
    const standing = (group: string, topic: string, key: string, id: string) => inbox.standing(group, topic, key, id);
    expect(
      await Promise.all([
        standing('one', 'a.thing', 'k', done),
        standing('two', 'a.thing', 'k', done),
        standing('one', 'a.thing', 'dead', dead),
        standing('two', 'a.thing', 'dead', dead),
        standing('one', 'a.thing', 'parked', randomUUID()),
        standing('two', 'a.thing', 'parked', randomUUID()),
        standing('one', 'b.thing', 'parked', randomUUID()),
        standing('one', 'a.thing', 'parked', done),
      ]),
    ).toEqual([
      { done: true, held: false },
      { done: false, held: false },
      { done: true, held: false },
      { done: false, held: false },
      { done: false, held: true },
      { done: false, held: false },
      { done: false, held: false },
      { done: true, held: true },
    ]);
  });

  it.each([1, 30, 500])('reads one entry for each of %i events, however large it is and has been', async (events) => {
    const ask = (ids: readonly string[]) => Promise.all(ids.map((id) => inbox.standing('one', 'a.thing', id, id)));
    // Plans that PostgreSQL keeps are made now, for a table that is empty, and are not made anew for the full one.
    await client.query('VACUUM ANALYZE inbox');
    for (let time = 0; time < 10; time++) await ask(Array.from({ length: events }, () => randomUUID()));
    const known = await handled(ROWS);
    const before = await read();
    await client.query('SELECT count(handled_at) FROM inbox');
    const counted = await read();
    expect(counted - before).toBe(ROWS); // so reading through it would be seen
    const ids = Array.from({ length: events }, (_, index) => (index % 2 === 0 ? (known[index] as string) : randomUUID()));
    expect(await ask(ids)).toEqual(ids.map((_, index) => ({ done: index % 2 === 0, held: false })));
    const found = (await read()) - counted;
    expect(found).toBe(Math.ceil(events / 2));
    await client.query('ANALYZE inbox');
    await ask(ids);
    expect((await read()) - counted - found).toBe(found);
  });
});
