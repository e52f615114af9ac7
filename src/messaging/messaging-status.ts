import { Injectable } from '@nestjs/common';
import { DatabasePool } from '../database/database-pool.js';
import { Notifications } from '../database/notifications.js';
import { Consumers, GROUPS_SUBJECT } from './consumer/consumers.js';
import { OutboxTable } from './outbox/outbox-table.js';
import { Relay } from './outbox/relay.js';
import { measuresLag } from './transport/broker-adapter.js';
import { BrokerConnection } from './transport/broker-connection.js';
import { DeclaredSubscriptions } from './transport/declared-subscriptions.js';

export interface OutboxStatus {
  readonly backlog: number;
  readonly oldestAgeMs: number;
  readonly blockedKeys: number;
  readonly lanes: readonly { readonly lane: number; readonly owner: string | null; readonly backlog: number }[];
}

export interface GroupStatus {
  readonly group: string;
  readonly topic: string;
  /** null while the broker cannot tell. */
  readonly lag: number | null;
  readonly parked: number;
  readonly deadLetters: number;
  readonly paused: boolean;
  readonly state: string;
}

/** What an operator sees of messaging. */
@Injectable()
export class MessagingStatus {
  private readonly table: OutboxTable;

  constructor(
    private readonly database: DatabasePool,
    private readonly notifications: Notifications,
    private readonly declared: DeclaredSubscriptions,
    private readonly consumers: Consumers,
    private readonly broker: BrokerConnection,
    private readonly relay: Relay,
  ) {
    this.table = new OutboxTable(database);
  }

  async outbox(): Promise<OutboxStatus> {
    const [{ backlog, oldestAgeMs, heldKeys }, lanes] = await Promise.all([
      this.table.backlog(),
      this.database.query<{ lane: number; owner: string | null; backlog: number }>(
        `SELECT l.lane, CASE WHEN l.leased_until > now() THEN l.owner END AS owner, (SELECT count(*)::int FROM outbox o WHERE o.lane = l.lane) AS backlog
         FROM lane_lease l WHERE l.pool = 'outbox' ORDER BY l.lane`,
      ),
    ]);
    return { backlog, oldestAgeMs, blockedKeys: heldKeys, lanes };
  }

  async groups(): Promise<GroupStatus[]> {
    const rows = await this.database.query<{ group_name: string; topic: string; parked: number; letters: number; paused: boolean }>(
      `SELECT s.group_name, s.topic,
              (SELECT count(*)::int FROM parked_event p WHERE p.group_name = s.group_name AND p.topic = s.topic) AS parked,
              (SELECT count(*)::int FROM dead_letter d WHERE d.group_name = s.group_name AND d.topic = s.topic AND d.state = 'open') AS letters,
              coalesce((SELECT paused FROM consumer_group g WHERE g.group_name = s.group_name), false) AS paused
       FROM declared_subscription s ORDER BY 1, 2`,
    );
    const states = new Map(this.consumers.status().map(({ group, topic, state }) => [`${group} ${topic}`, state]));
    return Promise.all(
      rows.map(async ({ group_name: group, topic, parked, letters, paused }) => ({
        group,
        topic,
        lag: await this.lag(group, topic),
        parked,
        deadLetters: letters,
        paused,
        // Where another process consumes, or another version of the application, this one can only tell what operators decided.
        state: states.get(`${group} ${topic}`) ?? (paused ? 'paused' : 'elsewhere'),
      })),
    );
  }

  /** Stops or lets go on a group, in every instance; false when there is no such group. */
  async setPaused(group: string, paused: boolean): Promise<boolean> {
    const { subscriptions } = await this.declared.read();
    if (!subscriptions.some((subscription) => subscription.group === group)) return false;
    await this.database.query(
      'INSERT INTO consumer_group (group_name, paused) VALUES ($1, $2) ON CONFLICT (group_name) DO UPDATE SET paused = excluded.paused',
      [group, paused],
    );
    this.notifications.notify(GROUPS_SUBJECT);
    return true;
  }

  private async lag(group: string, topic: string): Promise<number | null> {
    const { adapter } = this.broker;
    if (!measuresLag(adapter)) return null;
    try {
      return await adapter.lag({ group, topic });
    } catch {
      return null; // the broker is away, which readiness says; null is this answer's word for it
    }
  }

  /** @throws the reason why messaging cannot do its work */
  assertBroker(): void {
    this.broker.assertUsable();
  }

  assertRelaying(): void {
    this.relay.assertLeasing();
  }

  assertConsuming(): void {
    this.consumers.assertConsuming();
  }
}
