import { Injectable } from '@nestjs/common';
import { DatabasePool } from '../../database/database-pool.js';
import type { Subscription } from './broker-adapter.js';

/** A list of subscriptions; equal versions are equal lists. */
export interface Declared {
  readonly subscriptions: readonly Subscription[];
  readonly version: string;
}

/**
 * The subscriptions of every version of the application that runs beside this one, or ran lately. Brokers that keep
 * no list of subscribers themselves depend on it: in a rolling deployment an older version's relay must not publish
 * past a group that it has not heard of. A group that nobody has declared for the retention is forgotten.
 */
@Injectable()
export class DeclaredSubscriptions {
  constructor(private readonly database: DatabasePool) {}

  /** From its commit on, every event of the topics is for these groups too. */
  async declare(subscriptions: readonly Subscription[]): Promise<void> {
    await this.database.query(
      `INSERT INTO declared_subscription (group_name, topic)
       SELECT d.group_name, d.topic FROM unnest($1::text[], $2::text[]) AS d(group_name, topic)
       ON CONFLICT (group_name, topic) DO UPDATE SET declared_at = clock_timestamp()`,
      [subscriptions.map(({ group }) => group), subscriptions.map(({ topic }) => topic)],
    );
  }

  async read(): Promise<Declared> {
    const rows = await this.database.query<{ seq: string; group: string; topic: string }>(
      'SELECT seq, group_name AS "group", topic FROM declared_subscription ORDER BY seq',
    );
    return { subscriptions: rows.map(({ group, topic }) => ({ group, topic })), version: rows.map(({ seq }) => seq).join() };
  }

  /** Forgets what nobody has declared for so long; answers it. */
  async forget(retentionDays: number): Promise<Subscription[]> {
    return this.database.query<Subscription & { group: string; topic: string }>(
      `DELETE FROM declared_subscription WHERE declared_at < now() - $1 * interval '1 day' RETURNING group_name AS "group", topic`,
      [retentionDays],
    );
  }
}
