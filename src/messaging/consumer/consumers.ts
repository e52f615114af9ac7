import { Inject, Injectable } from '@nestjs/common';
import { Database } from '../../database/database.js';
import { DatabasePool } from '../../database/database-pool.js';
import { Notifications } from '../../database/notifications.js';
import { LOGGER, type Logger } from '../../observability/logger.js';
import { Metrics } from '../../observability/metrics.js';
import { MessagingSettings } from '../messaging-settings.js';
import { BrokerConnection } from '../transport/broker-connection.js';
import { ConsumerRegistry } from './consumer-registry.js';
import { Inbox } from './inbox.js';
import { MessageRunner } from './message-runner.js';
import { Parking } from './parking.js';
import { RetryScheduler } from './retry-scheduler.js';
import { SupervisedSubscription, type SubscriptionState } from './supervised-subscription.js';

/** Subject of the hint that a group was paused, resumed, or has a replay due. */
export const GROUPS_SUBJECT = 'groups';

/** What a group that takes batches has in hand at least: two full ones. */
const BATCH_IN_FLIGHT = 1000;

export interface SubscriptionStatus {
  readonly group: string;
  readonly topic: string;
  readonly state: SubscriptionState;
  readonly trouble: string | undefined;
}

interface Consumed {
  readonly group: string;
  readonly topic: string;
  readonly runner: MessageRunner;
  readonly supervised: SupervisedSubscription;
}

/** All consuming of this process: the subscriptions, and the retries of what they parked. */
@Injectable()
export class Consumers {
  private consumed: Consumed[] = [];
  private scheduler: RetryScheduler | undefined;
  private readonly paused = new Set<string>();
  private unlisten: (() => void) | undefined;
  private stopping = false;

  constructor(
    private readonly registry: ConsumerRegistry,
    private readonly broker: BrokerConnection,
    private readonly database: Database,
    private readonly pool: DatabasePool,
    private readonly notifications: Notifications,
    private readonly inbox: Inbox,
    private readonly parking: Parking,
    private readonly settings: MessagingSettings,
    private readonly metrics: Metrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Reads what operators have paused; before `start`, and again where the database was away. */
  async prepare(): Promise<void> {
    await this.readPaused();
  }

  /** Begins to consume as soon as the broker's topology exists. */
  start(): void {
    const { consumers } = this.settings.config;
    this.scheduler = new RetryScheduler({
      database: this.database,
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
        subscription: { group, topic },
        deliver: (message) => this.database.asEvent(() => runner.deliver(message)),
        maxInFlight: subscription.takesBatches ? Math.max(consumers.maxInFlight, BATCH_IN_FLIGHT) : consumers.maxInFlight,
        logger: this.logger,
        onRebuild: () => this.metrics.consumerRebuilds.inc({ group, topic }),
      });
      return { group, topic, runner, supervised };
    });
    this.unlisten = this.notifications.listen(GROUPS_SUBJECT, () => void this.poll());
    void this.broker.whenOpen().then(() => {
      if (this.stopping) return;
      for (const { group, supervised } of this.consumed) supervised.start(this.paused.has(group) ? 'paused' : 'running');
      scheduler.start();
    });
  }

  /** The safety net's look: at what operators decided, and at retries that are due. */
  async poll(): Promise<void> {
    if (this.stopping || !this.scheduler) return;
    try {
      await this.readPaused();
    } catch (error) {
      this.logger.debug({ err: error }, 'paused groups could not be read');
    }
    for (const { group, supervised } of this.consumed) supervised.want(this.paused.has(group) ? 'paused' : 'running');
    this.scheduler.wake();
  }

  status(): SubscriptionStatus[] {
    return this.consumed.map(({ group, topic, supervised }) => ({
      group,
      topic,
      state: supervised.state,
      trouble: supervised.trouble?.message,
    }));
  }

  /** @throws Error naming each subscription that should consume and does not */
  assertConsuming(): void {
    const down = this.status().filter(({ state }) => state === 'down' || state === 'starting');
    if (down.length > 0)
      throw new Error(
        down.map(({ group, topic, state, trouble }) => `group ${group} on ${topic} is ${state}${trouble ? `: ${trouble}` : ''}`).join('; '),
      );
  }

  /** Takes nothing more, gives handlers until the deadline, then interrupts them; true when nothing had to be left to others. */
  async stop(deadlineMs: number): Promise<boolean> {
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

  private async readPaused(): Promise<void> {
    const rows = await this.pool.query<{ group_name: string }>('SELECT group_name FROM consumer_group WHERE paused');
    this.paused.clear();
    for (const { group_name } of rows) this.paused.add(group_name);
  }
}
