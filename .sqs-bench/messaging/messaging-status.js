function _ts_decorate(decorators, target, key, desc) {
  var c = arguments.length,
    r = c < 3 ? target : desc === null ? (desc = Object.getOwnPropertyDescriptor(target, key)) : desc,
    d;
  if (typeof Reflect === 'object' && typeof Reflect.decorate === 'function') {
    r = Reflect.decorate(decorators, target, key, desc);
  } else {
    for (var i = decorators.length - 1; i >= 0; i--) {
      if ((d = decorators[i])) {
        r = (c < 3 ? d(r) : c > 3 ? d(target, key, r) : d(target, key)) || r;
      }
    }
  }
  return (c > 3 && r && Object.defineProperty(target, key, r), r);
}
function _ts_metadata(metadataKey, metadataValue) {
  if (typeof Reflect === 'object' && typeof Reflect.metadata === 'function') {
    return Reflect.metadata(metadataKey, metadataValue);
  }
}
import { Injectable } from '@nestjs/common';
import { DatabasePool } from '../database/database-pool.js';
import { Notifications } from '../database/notifications.js';
import { ConsumerRegistry } from './consumer/consumer-registry.js';
import { Consumers, GROUPS_SUBJECT } from './consumer/consumers.js';
import { OutboxTable } from './outbox/outbox-table.js';
import { measuresLag } from './transport/broker-adapter.js';
import { BrokerConnection } from './transport/broker-connection.js';
export class MessagingStatus {
  database;
  notifications;
  registry;
  consumers;
  broker;
  table;
  constructor(database, notifications, registry, consumers, broker) {
    this.database = database;
    this.notifications = notifications;
    this.registry = registry;
    this.consumers = consumers;
    this.broker = broker;
    this.table = new OutboxTable(database);
  }
  async outbox() {
    const [{ backlog, oldestAgeMs, heldKeys }, lanes] = await Promise.all([
      this.table.backlog(),
      this.database
        .query(`SELECT l.lane, CASE WHEN l.leased_until > now() THEN l.owner END AS owner, (SELECT count(*)::int FROM outbox o WHERE o.lane = l.lane) AS backlog
         FROM lane_lease l WHERE l.pool = 'outbox' ORDER BY l.lane`),
    ]);
    return {
      backlog,
      oldestAgeMs,
      blockedKeys: heldKeys,
      lanes,
    };
  }
  async groups() {
    const rows = await this.database.query(
      `SELECT s.group_name, s.topic,
              (SELECT count(*)::int FROM parked_event p WHERE p.group_name = s.group_name AND p.topic = s.topic) AS parked,
              (SELECT count(*)::int FROM dead_letter d WHERE d.group_name = s.group_name AND d.topic = s.topic AND d.state = 'open') AS letters,
              coalesce((SELECT paused FROM consumer_group g WHERE g.group_name = s.group_name), false) AS paused
       FROM unnest($1::text[], $2::text[]) AS s(group_name, topic) ORDER BY 1, 2`,
      [this.registry.subscriptions().map(({ group }) => group), this.registry.subscriptions().map(({ topic }) => topic)],
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
        // Where another process consumes, this one can only tell what operators decided.
        state: states.get(`${group} ${topic}`) ?? (paused ? 'paused' : 'elsewhere'),
      })),
    );
  }
  /** Stops or lets go on a group, in every instance; false when there is no such group. */ async setPaused(group, paused) {
    if (!this.registry.subscriptions().some((subscription) => subscription.group === group)) return false;
    await this.database.query(
      'INSERT INTO consumer_group (group_name, paused) VALUES ($1, $2) ON CONFLICT (group_name) DO UPDATE SET paused = excluded.paused',
      [group, paused],
    );
    this.notifications.notify(GROUPS_SUBJECT);
    return true;
  }
  async lag(group, topic) {
    const { adapter } = this.broker;
    if (!measuresLag(adapter)) return null;
    try {
      return await adapter.lag({
        group,
        topic,
      });
    } catch {
      return null; // the broker is away, which readiness says; null is this answer's word for it
    }
  }
  /** @throws the reason why messaging cannot do its work */ assertBroker() {
    this.broker.assertUsable();
  }
  assertConsuming() {
    this.consumers.assertConsuming();
  }
}
MessagingStatus = _ts_decorate(
  [
    Injectable(),
    _ts_metadata('design:type', Function),
    _ts_metadata('design:paramtypes', [
      typeof DatabasePool === 'undefined' ? Object : DatabasePool,
      typeof Notifications === 'undefined' ? Object : Notifications,
      typeof ConsumerRegistry === 'undefined' ? Object : ConsumerRegistry,
      typeof Consumers === 'undefined' ? Object : Consumers,
      typeof BrokerConnection === 'undefined' ? Object : BrokerConnection,
    ]),
  ],
  MessagingStatus,
);

//# sourceMappingURL=messaging-status.js.map
