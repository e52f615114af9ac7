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
function _ts_param(paramIndex, decorator) {
  return function (target, key) {
    decorator(target, key, paramIndex);
  };
}
import { Inject, Injectable } from '@nestjs/common';
import { Database } from '../../database/database.js';
import { DatabasePool } from '../../database/database-pool.js';
import { Notifications } from '../../database/notifications.js';
import { LOGGER } from '../../observability/logger.js';
import { Metrics } from '../../observability/metrics.js';
import { MessagingSettings } from '../messaging-settings.js';
import { BrokerConnection } from '../transport/broker-connection.js';
import { ConsumerRegistry } from './consumer-registry.js';
import { Inbox } from './inbox.js';
import { MessageRunner } from './message-runner.js';
import { Parking } from './parking.js';
import { RetryScheduler } from './retry-scheduler.js';
import { SupervisedSubscription } from './supervised-subscription.js';
/** Subject of the hint that a group was paused, resumed, or has a replay due. */ export const GROUPS_SUBJECT = 'groups';
export class Consumers {
  registry;
  broker;
  database;
  pool;
  notifications;
  inbox;
  parking;
  settings;
  metrics;
  logger;
  consumed = [];
  scheduler;
  paused = new Set();
  unlisten;
  stopping = false;
  constructor(registry, broker, database, pool, notifications, inbox, parking, settings, metrics, logger) {
    this.registry = registry;
    this.broker = broker;
    this.database = database;
    this.pool = pool;
    this.notifications = notifications;
    this.inbox = inbox;
    this.parking = parking;
    this.settings = settings;
    this.metrics = metrics;
    this.logger = logger;
  }
  /** Begins to consume as soon as the broker's topology exists. */ async start() {
    const { consumers } = this.settings.config;
    this.scheduler = new RetryScheduler({
      parking: this.parking,
      inbox: this.inbox,
      metrics: this.metrics,
      logger: this.logger,
      settings: consumers,
      runnerOf: (group, topic) => this.consumed.find((entry) => entry.group === group && entry.topic === topic)?.runner,
      activeGroups: () => [...new Set(this.consumed.map(({ group }) => group))].filter((group) => !this.paused.has(group)),
    });
    const scheduler = this.scheduler;
    this.consumed = this.registry.subscriptions().map((subscription) => {
      const runner = new MessageRunner(subscription, {
        database: this.database,
        inbox: this.inbox,
        parking: this.parking,
        metrics: this.metrics,
        logger: this.logger,
        settings: consumers,
        onParked: (delayMs) => scheduler.wakeIn(delayMs),
      });
      const { group, topic } = subscription;
      const supervised = new SupervisedSubscription({
        adapter: this.broker.adapter,
        subscription: {
          group,
          topic,
        },
        deliver: (message) => runner.deliver(message),
        maxInFlight: consumers.maxInFlight,
        logger: this.logger,
        onRebuild: () =>
          this.metrics.consumerRebuilds.inc({
            group,
            topic,
          }),
      });
      return {
        group,
        topic,
        runner,
        supervised,
      };
    });
    await this.readPaused();
    this.unlisten = this.notifications.listen(GROUPS_SUBJECT, () => void this.poll());
    void this.broker.whenOpen().then(() => {
      if (this.stopping) return;
      for (const { group, supervised } of this.consumed) supervised.start(this.paused.has(group) ? 'paused' : 'running');
      scheduler.start();
    });
  }
  /** The safety net's look: at what operators decided, and at retries that are due. */ async poll() {
    if (this.stopping || !this.scheduler) return;
    try {
      await this.readPaused();
    } catch (error) {
      this.logger.debug(
        {
          err: error,
        },
        'paused groups could not be read',
      );
    }
    for (const { group, supervised } of this.consumed) supervised.want(this.paused.has(group) ? 'paused' : 'running');
    this.scheduler.wake();
  }
  status() {
    return this.consumed.map(({ group, topic, supervised }) => ({
      group,
      topic,
      state: supervised.state,
      trouble: supervised.trouble?.message,
    }));
  }
  /** @throws Error naming each subscription that should consume and does not */ assertConsuming() {
    const down = this.status().filter(({ state }) => state === 'down' || state === 'starting');
    if (down.length > 0)
      throw new Error(
        down.map(({ group, topic, state, trouble }) => `group ${group} on ${topic} is ${state}${trouble ? `: ${trouble}` : ''}`).join('; '),
      );
  }
  /** Takes nothing more, gives handlers until the deadline, then interrupts them; true when nothing had to be left to others. */ async stop(
    deadlineMs,
  ) {
    this.stopping = true;
    this.unlisten?.();
    let interrupted = false;
    const deadline = setTimeout(() => {
      interrupted = true;
      for (const { runner } of this.consumed) runner.interruptHandlers();
      this.scheduler?.interruptHandlers();
    }, deadlineMs);
    await Promise.all([...this.consumed.map(({ supervised }) => supervised.stop()), this.scheduler?.stop()]);
    clearTimeout(deadline);
    return !interrupted;
  }
  async readPaused() {
    const rows = await this.pool.query('SELECT group_name FROM consumer_group WHERE paused');
    this.paused.clear();
    for (const { group_name } of rows) this.paused.add(group_name);
  }
}
Consumers = _ts_decorate(
  [
    Injectable(),
    _ts_param(9, Inject(LOGGER)),
    _ts_metadata('design:type', Function),
    _ts_metadata('design:paramtypes', [
      typeof ConsumerRegistry === 'undefined' ? Object : ConsumerRegistry,
      typeof BrokerConnection === 'undefined' ? Object : BrokerConnection,
      typeof Database === 'undefined' ? Object : Database,
      typeof DatabasePool === 'undefined' ? Object : DatabasePool,
      typeof Notifications === 'undefined' ? Object : Notifications,
      typeof Inbox === 'undefined' ? Object : Inbox,
      typeof Parking === 'undefined' ? Object : Parking,
      typeof MessagingSettings === 'undefined' ? Object : MessagingSettings,
      typeof Metrics === 'undefined' ? Object : Metrics,
      typeof Logger === 'undefined' ? Object : Logger,
    ]),
  ],
  Consumers,
);

//# sourceMappingURL=consumers.js.map
