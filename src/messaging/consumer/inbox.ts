import { Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../../database/database.js';
import { DatabasePool } from '../../database/database-pool.js';

export interface Standing {
  /** The group has handled the event, or given it up to a person. */
  readonly done: boolean;
  /** An earlier event of the key is parked or a dead letter: this one must wait behind it. */
  readonly held: boolean;
}

interface Question {
  readonly group: string;
  readonly topic: string;
  readonly key: string;
  readonly eventId: string;
  readonly answer: (standing: Standing) => void;
  readonly fail: (error: unknown) => void;
}

const MOST_AT_ONCE = 500;
const DELETE_BATCH = 5000;

const MARK_ONE = 'INSERT INTO inbox (group_name, event_id) VALUES ($1, $2::uuid) ON CONFLICT DO NOTHING';
const MARK_ALL = 'INSERT INTO inbox (group_name, event_id) SELECT $1, id FROM unnest($2::uuid[]) AS id ORDER BY id ON CONFLICT DO NOTHING';

/** A function of the database: its plan is kept, and looks into an index for each question. */
const STANDING = 'SELECT done, held FROM event_standing($1::text[], $2::text[], $3::text[], $4::uuid[])';

/** What each group has handled. */
@Injectable()
export class Inbox {
  private questions: Question[] = [];
  private asking = false;

  constructor(
    private readonly database: Database,
    private readonly pool: DatabasePool,
  ) {}

  /**
   * Marks the events as handled with the transaction's next statement, so that it costs no round trip of its own; at
   * the latest before the commit. A twin waits there for the first to end. Where one of them was marked already, `refuse` is called and nothing is committed.
   */
  markAhead(tx: Transaction, group: string, eventIds: readonly string[], refuse: () => never): void {
    const check = ({ rowCount }: { rowCount: number | null }): void => {
      if (rowCount !== eventIds.length) refuse();
    };
    const [only] = eventIds;
    if (eventIds.length === 1) this.database.ahead(tx, MARK_ONE, [group, only], check);
    else this.database.ahead(tx, MARK_ALL, [group, eventIds], check);
  }

  /**
   * Marks many events in one statement; answers those that were not marked before. In ascending order, so that
   * two instances which mark the same events wait for each other and do not deadlock.
   */
  async markAll(tx: Transaction, group: string, eventIds: readonly string[]): Promise<ReadonlySet<string>> {
    const { rows } = await this.database.query<{ id: string }>(tx, `${MARK_ALL} RETURNING event_id AS id`, [group, eventIds]);
    return new Set(rows.map(({ id }) => id));
  }

  /** For a handler that had no effect in the database. */
  async markNow(group: string, eventIds: readonly string[]): Promise<void> {
    await this.pool.query(MARK_ALL, [group, eventIds]);
  }

  async has(group: string, eventId: string): Promise<boolean> {
    return (await this.pool.query('SELECT 1 AS one FROM inbox WHERE group_name = $1 AND event_id = $2', [group, eventId])).length > 0;
  }

  /** How an event stands with a group. Questions that come while one is under way are asked together. */
  standing(group: string, topic: string, key: string, eventId: string): Promise<Standing> {
    return new Promise((answer, fail) => {
      this.questions.push({ group, topic, key, eventId, answer, fail });
      if (!this.asking) void this.ask();
    });
  }

  private async ask(): Promise<void> {
    this.asking = true;
    await Promise.resolve(); // whoever asks in the same turn comes along
    while (this.questions.length > 0) {
      const batch = this.questions.splice(0, MOST_AT_ONCE);
      try {
        const rows = await this.pool.query<{ done: boolean; held: boolean }>(STANDING, [
          batch.map(({ group }) => group),
          batch.map(({ topic }) => topic),
          batch.map(({ key }) => key),
          batch.map(({ eventId }) => eventId),
        ]);
        batch.forEach((question, index) => question.answer(rows[index] as Standing));
      } catch (error) {
        for (const question of batch) question.fail(error);
      }
    }
    this.asking = false;
  }

  /** Forgets what is older than the retention, by the database's clock. */
  async cleanUp(retentionDays: number): Promise<number> {
    let total = 0;
    for (;;) {
      const rows = await this.pool.query(
        `DELETE FROM inbox WHERE ctid IN (SELECT ctid FROM inbox WHERE handled_at < now() - $1 * interval '1 day' LIMIT $2) RETURNING 1 AS one`,
        [retentionDays, DELETE_BATCH],
      );
      total += rows.length;
      if (rows.length < DELETE_BATCH) return total;
    }
  }
}
