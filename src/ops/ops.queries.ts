import { Injectable } from '@nestjs/common';
import { DatabasePool } from '../database/database-pool.js';

export interface DeadLetterRow {
  readonly id: string;
  readonly group: string;
  readonly topic: string;
  readonly type: string;
  readonly key: string;
  readonly eventId: string;
  readonly reason: string;
  readonly attempts: number;
  readonly failedAt: Date;
  readonly state: string;
  readonly waiting: number;
}

export interface DeadLetterDetail extends DeadLetterRow {
  readonly error: string;
  readonly replays: number;
  readonly headers: Record<string, string>;
  readonly payload: Buffer;
}

export interface ParkedRow {
  readonly seq: string;
  readonly group: string;
  readonly topic: string;
  readonly key: string;
  readonly eventId: string;
  readonly attempts: number;
  readonly nextAttemptAt: Date | null;
  readonly reason: string;
}

interface DeadLetterFilter {
  readonly group?: string | undefined;
  readonly type?: string | undefined;
  readonly key?: string | undefined;
  readonly state: string;
}

const COLUMNS = `id, group_name AS "group", topic, type, key, event_id AS "eventId", reason, attempts, failed_at AS "failedAt", state,
  (SELECT count(*)::int FROM parked_event p WHERE p.group_name = d.group_name AND p.topic = d.topic AND p.key = d.key AND p.seq > d.seq) AS waiting`;

/** What the operator's lists read. Pages go by id, so that nothing is shown twice or left out while rows come and go. */
@Injectable()
export class OpsQueries {
  constructor(private readonly database: DatabasePool) {}

  deadLetters(filter: DeadLetterFilter, after: string | undefined, limit: number): Promise<DeadLetterRow[]> {
    return this.database.query<DeadLetterRow>(
      `SELECT ${COLUMNS} FROM dead_letter d
       WHERE state = $1 AND ($2::text IS NULL OR group_name = $2) AND ($3::text IS NULL OR type = $3) AND ($4::text IS NULL OR key = $4)
         AND ($5::uuid IS NULL OR id > $5) ORDER BY id LIMIT $6`,
      [filter.state, filter.group ?? null, filter.type ?? null, filter.key ?? null, after ?? null, limit],
    );
  }

  async deadLetter(id: string): Promise<DeadLetterDetail | undefined> {
    const [row] = await this.database.query<Omit<DeadLetterDetail, 'headers'> & { headers: string }>(
      `SELECT ${COLUMNS}, error, replays, coalesce(edited_headers, headers) AS headers, coalesce(edited_payload, payload) AS payload FROM dead_letter d WHERE id = $1`,
      [id],
    );
    return row && { ...row, headers: JSON.parse(row.headers) as Record<string, string> };
  }

  parked(after: string | undefined, limit: number): Promise<ParkedRow[]> {
    return this.database.query<ParkedRow>(
      `SELECT e.seq, e.group_name AS "group", e.topic, e.key, e.event_id AS "eventId", e.attempts, e.reason,
              CASE WHEN e.seq = (SELECT min(h.seq) FROM parked_event h WHERE h.group_name = e.group_name AND h.topic = e.topic AND h.key = e.key) THEN k.next_attempt_at END AS "nextAttemptAt"
       FROM parked_event e LEFT JOIN parked_key k ON k.group_name = e.group_name AND k.topic = e.topic AND k.key = e.key
       WHERE $1::bigint IS NULL OR e.seq > $1 ORDER BY e.seq LIMIT $2`,
      [after ?? null, limit],
    );
  }
}
