import type { DatabasePool } from '../../database/database-pool.js';
import { headersIn } from '../event/headers.js';
import type { Lanes } from '../lane/low-water.js';
import type { OutgoingMessage } from '../transport/broker-adapter.js';

/** A row as the relay reads it. */
export interface OutboxRow extends OutgoingMessage {
  readonly lane: number;
  readonly id: string;
  /** Why it can never be published, if so: it was not written by the outbox. */
  readonly fault?: string;
}

interface RawRow {
  lane: number;
  id: string;
  event_id: string;
  topic: string;
  type: string;
  key: string;
  headers: string;
  payload: string;
}

/** Names a key of a topic in the lists of held keys. Topics hold no colon. */
export function heldKeyOf(row: { topic: string; key: string }): string {
  return `${row.topic}:${row.key}`;
}

/** The topic in such a name. */
export function topicOf(held: string): string {
  return held.slice(0, held.indexOf(':'));
}

/** Where the outbox's lanes begin. Parked rows keep their ids and may be put back: they count as being there. */
export const OUTBOX_LANES: Lanes = {
  tables: ['outbox'],
  marks: `
    WITH first AS MATERIALIZED (SELECT lane, id FROM outbox_head($1::smallint[], $2::bigint[], 1, $4::bigint[], $5::text[]))
    SELECT wanted.lane, least(
      $3::bigint + 1,
      (SELECT id FROM first WHERE first.lane = wanted.lane),
      (SELECT min(id) FROM outbox_parked WHERE outbox_parked.lane = wanted.lane)
    )::text AS low
    FROM unnest($1::smallint[]) AS wanted(lane)`,
  more: [[], []],
};

/** The relay's statements. */
export class OutboxTable {
  constructor(private readonly database: DatabasePool) {}

  /**
   * The oldest rows of each lane, from its head: never "after the last id seen", which would lose rows whose
   * transaction took a lower id and commits later. Rows in hand and keys on hold are left out. Within a key they are in order.
   * @param lows where each of the lanes begins, see LowWater
   */
  async read(
    lanes: readonly number[],
    lows: readonly string[],
    limit: number,
    inHand: readonly string[],
    held: readonly string[],
  ): Promise<OutboxRow[]> {
    const perLane = Math.ceil(limit / lanes.length);
    const rows = await this.database.query<RawRow>(
      `SELECT lane, id, event_id, topic, type, key, headers, payload
       FROM outbox_head($1::smallint[], $2::bigint[], $3::int, $4::bigint[], $5::text[])`,
      [lanes, lows, perLane, arrayOf(inHand), held],
    );
    return rows.map((row) => ({
      lane: row.lane,
      id: row.id,
      eventId: row.event_id,
      topic: row.topic,
      type: row.type,
      key: row.key,
      ...headersOf(row.headers),
      payload: Buffer.from(row.payload, 'utf8'),
    }));
  }

  /**
   * Exactly these rows, never a range: another row may have come in between. Where the groups that they were
   * published for are named, only as long as no other group has been declared; false when there was one, and nothing is deleted.
   */
  async delete(rows: readonly OutboxRow[], groups: string | undefined): Promise<boolean> {
    if (rows.length === 0) return true;
    const deleted = await this.database.query(
      `DELETE FROM outbox USING unnest($1::smallint[], $2::bigint[]) AS done(lane, id) WHERE outbox.lane = done.lane AND outbox.id = done.id
       ${groups === undefined ? '' : `AND $3 = (SELECT coalesce(string_agg(seq::text, ',' ORDER BY seq), '') FROM declared_subscription)`} RETURNING 1 AS one`,
      [arrayOf(rows.map(({ lane }) => lane)), arrayOf(rows.map(({ id }) => id)), ...(groups === undefined ? [] : [groups])],
    );
    return groups === undefined || deleted.length > 0;
  }

  /** Rows of topics that nobody has declared; they can never be published. */
  async readUndeclared(lanes: readonly number[], topics: readonly string[], held: readonly string[]): Promise<OutboxRow[]> {
    const rows = await this.database.query<{
      lane: number;
      id: string;
      topic: string;
      key: string;
      type: string;
      event_id: string;
    }>(
      `SELECT lane, id, topic, key, type, event_id FROM outbox
       WHERE lane = ANY($1::smallint[]) AND topic <> ALL($2::text[]) AND (topic || ':' || key) <> ALL($3::text[]) ORDER BY id LIMIT 100`,
      [lanes, topics, held],
    );
    return rows.map((row) => ({
      lane: row.lane,
      id: row.id,
      eventId: row.event_id,
      topic: row.topic,
      type: row.type,
      key: row.key,
      headers: {},
      payload: Buffer.alloc(0),
    }));
  }

  async backlog(): Promise<{ backlog: number; oldestAgeMs: number; heldKeys: number }> {
    const [row] = await this.database.query<{ backlog: number; oldest: number | null; held: number }>(
      `SELECT count(*)::int AS backlog, extract(epoch FROM clock_timestamp() - min(created_at))::float8 * 1000 AS oldest,
              (SELECT count(*)::int FROM outbox_held_key) AS held FROM outbox`,
    );
    return { backlog: row?.backlog ?? 0, oldestAgeMs: Math.max(0, Math.round(row?.oldest ?? 0)), heldKeys: row?.held ?? 0 };
  }

  async hold(row: OutboxRow, attempts: number, delayMs: number, reason: string): Promise<void> {
    await this.database.query(
      `INSERT INTO outbox_held_key (topic, key, lane, attempts, next_attempt_at, reason)
       VALUES ($1, $2, $3, $4, now() + $5 * interval '1 ms', $6)
       ON CONFLICT (topic, key) DO UPDATE SET attempts = excluded.attempts, next_attempt_at = excluded.next_attempt_at, reason = excluded.reason`,
      [row.topic, row.key, row.lane, attempts, delayMs, reason],
    );
  }

  async unhold(held: string): Promise<void> {
    const topic = topicOf(held);
    await this.database.query('DELETE FROM outbox_held_key WHERE topic = $1 AND key = $2', [topic, held.slice(topic.length + 1)]);
  }

  async heldKeys(): Promise<{ held: string; attempts: number; waitMs: number }[]> {
    return this.database.query(
      `SELECT topic || ':' || key AS held, attempts, greatest(0, extract(epoch FROM next_attempt_at - now()) * 1000)::float8 AS "waitMs" FROM outbox_held_key`,
    );
  }

  /** Keys whose later rows follow a parked one out of the way. */
  async parkedKeys(): Promise<string[]> {
    const rows = await this.database.query<{ held: string }>(
      `SELECT DISTINCT topic || ':' || key AS held FROM outbox_parked WHERE policy = 'park'`,
    );
    return rows.map(({ held }) => held);
  }

  /**
   * Moves rows out of the way in one statement: with `skip` the one row, with `park` all of its key's. Only
   * whoever holds the lane's lease may: a relay that was frozen past its lease must not park what another has since published.
   */
  async park(row: OutboxRow, policy: 'park' | 'skip', reason: string, owner: string): Promise<number> {
    const moved = await this.database.query(
      `WITH fenced AS (SELECT 1 FROM lane_lease WHERE pool = 'outbox' AND lane = $1 AND owner = $2 AND leased_until > now()),
       taken AS (
         DELETE FROM outbox WHERE lane = $1 AND topic = $3 AND key = $4 AND ($5 = 'park' OR id = $6) AND EXISTS (SELECT 1 FROM fenced) RETURNING *)
       INSERT INTO outbox_parked (id, lane, event_id, topic, type, key, headers, payload, created_at, reason, policy)
       SELECT id, lane, event_id, topic, type, key, headers, payload, created_at, $7, $5 FROM taken RETURNING id`,
      [row.lane, owner, row.topic, row.key, policy, row.id, reason],
    );
    return moved.length;
  }

  /** Later rows of parked keys, in the lanes of this owner. */
  async followParked(owner: string): Promise<number> {
    const moved = await this.database.query(
      `WITH taken AS (
         DELETE FROM outbox WHERE lane IN (SELECT lane FROM lane_lease WHERE pool = 'outbox' AND owner = $1 AND leased_until > now())
           AND (topic, key) IN (SELECT topic, key FROM outbox_parked WHERE policy = 'park') RETURNING *)
       INSERT INTO outbox_parked (id, lane, event_id, topic, type, key, headers, payload, created_at, reason, policy)
       SELECT id, lane, event_id, topic, type, key, headers, payload, created_at, 'behind an earlier event of its key', 'park' FROM taken RETURNING id`,
      [owner],
    );
    return moved.length;
  }
}

/** An array of numbers as PostgreSQL reads it. pg would look into each for what has to be escaped. */
function arrayOf(numbers: readonly (string | number)[]): string {
  return `{${numbers.join(',')}}`;
}

function headersOf(text: string): { headers: Record<string, string>; fault?: string } {
  const headers = headersIn(text);
  return headers ? { headers } : { headers: {}, fault: 'its headers are no JSON object of texts' };
}
