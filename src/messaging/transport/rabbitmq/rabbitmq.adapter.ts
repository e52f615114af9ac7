import type {
  ActiveSubscription,
  BrokerAdapter,
  Deliver,
  MeasuresLag,
  OutgoingMessage,
  SubscribeOptions,
  Subscription,
  Topology,
} from '../broker-adapter.js';
import { RabbitmqConnection, unavailable } from './rabbitmq.connection.js';
import { RabbitmqNames } from './rabbitmq.names.js';
import { MAX_MESSAGE_BYTES, RabbitmqPublisher, type Routes } from './rabbitmq.publisher.js';
import type { RabbitmqSettings } from './rabbitmq.settings.js';
import { RabbitmqSubscription } from './rabbitmq.subscription.js';
import { RabbitmqTopology } from './rabbitmq.topology.js';
import { within } from '../within.js';

const CHECK_TIMEOUT_MS = 4_800;

/**
 * Topics are topic exchanges; a group has a fixed number of quorum queues per topic, each with a single active
 * consumer, and a key always goes into the same one. One connection publishes and another one consumes, because
 * the broker stops reading from a connection that publishes while an alarm is on.
 */
export class RabbitmqAdapter implements BrokerAdapter, MeasuresLag {
  readonly maxMessageBytes = MAX_MESSAGE_BYTES;
  private readonly publishing: RabbitmqConnection;
  /** Shared by all subscriptions, and by whatever must work while an alarm is on. */
  private readonly consuming: RabbitmqConnection;
  private readonly names: RabbitmqNames;
  private readonly topology: RabbitmqTopology;
  private readonly publisher: RabbitmqPublisher;
  private readonly subscriptions = new Set<RabbitmqSubscription>();
  private routes: Routes = { topics: new Set(), withReaders: new Set() };

  constructor(private readonly settings: RabbitmqSettings) {
    this.publishing = new RabbitmqConnection(settings, 'publish');
    this.consuming = new RabbitmqConnection(settings, 'consume');
    this.names = new RabbitmqNames(settings.namespace, settings.rabbitmq.queuesPerGroup);
    this.topology = new RabbitmqTopology(this.consuming, this.names, settings);
    this.publisher = new RabbitmqPublisher({
      connection: this.publishing,
      names: this.names,
      confirmTimeoutMs: settings.rabbitmq.confirmTimeoutMs,
    });
  }

  async open(topology: Topology): Promise<void> {
    const { topics, deadLetterTopics, subscriptions } = topology;
    this.routes = {
      topics: new Set([...topics, ...deadLetterTopics]),
      withReaders: new Set([...subscriptions.map(({ topic }) => topic), ...deadLetterTopics]),
    };
    await this.topology.open(topology);
  }

  publish(messages: readonly OutgoingMessage[]): Promise<readonly (Error | undefined)[]> {
    return this.publisher.publish(messages, this.routes);
  }

  async subscribe(subscription: Subscription, deliver: Deliver, options: SubscribeOptions): Promise<ActiveSubscription> {
    // Queues that were deleted meanwhile are made again.
    await this.topology.ensureSubscription(subscription);
    const active: RabbitmqSubscription = new RabbitmqSubscription(subscription, deliver, options, {
      connection: this.consuming,
      names: this.names,
      deliveryLimit: this.settings.rabbitmq.deliveryLimit,
      logger: this.settings.logger,
      onEnd: () => this.subscriptions.delete(active),
    });
    this.subscriptions.add(active);
    await active.start();
    return active;
  }

  async check(): Promise<void> {
    await within(
      CHECK_TIMEOUT_MS,
      'RabbitMQ did not answer',
      this.consuming.onChannel(() => Promise.resolve()),
    );
  }

  /**
   * What waits in the subscription's queues, and what this instance holds. AMQP does not tell what other instances
   * hold unacknowledged: at most PREFETCH a queue are missing.
   */
  async lag({ group, topic }: Subscription): Promise<number> {
    const queues = [...this.names.queues({ group, topic }), this.names.undeliverable({ group, topic })];
    const ready = await this.consuming
      .onChannel((channel) => Promise.all(queues.map((queue) => channel.checkQueue(queue))))
      .catch((error: unknown) => {
        throw unavailable(`the lag of group "${group}" on topic "${topic}" is not known`, error as Error);
      });
    const held = [...this.subscriptions].filter(({ subscription }) => subscription.group === group && subscription.topic === topic);
    return ready.reduce((sum, { messageCount }) => sum + messageCount, 0) + held.reduce((sum, { pending }) => sum + pending, 0);
  }

  async close(): Promise<void> {
    await Promise.all([this.publishing.close(), this.consuming.close()]);
  }
}
