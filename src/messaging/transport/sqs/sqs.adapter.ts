import type {
  ActiveSubscription,
  BrokerAdapter,
  Deliver,
  FansOut,
  MeasuresLag,
  OutgoingMessage,
  SubscribeOptions,
  Subscription,
  Topology,
} from '../broker-adapter.js';
import { isMissingQueue, request, SqsConnection, unavailable } from './sqs.connection.js';
import { largestPayload } from './sqs.message.js';
import { SqsNames } from './sqs.names.js';
import { SqsPublisher } from './sqs.publisher.js';
import { DEFAULT_MAX_BYTES, type SqsSettings } from './sqs.settings.js';
import { SqsSubscription } from './sqs.subscription.js';
import { SqsTopology, type SqsQueue } from './sqs.topology.js';

const CHECK_TIMEOUT_MS = 4_500;
const LAG_TIMEOUT_MS = 5_000;
const COUNTS = ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible', 'ApproximateNumberOfMessagesDelayed'] as const;

/**
 * Each group has a FIFO queue per topic, and the publisher writes every event into all queues of its topic. The
 * key is the message group, which SQS hands out in order and locks while some of it is in hand.
 */
export class SqsAdapter implements BrokerAdapter, FansOut, MeasuresLag {
  private readonly connection: SqsConnection;
  private readonly topology: SqsTopology;
  private readonly publisher: SqsPublisher;
  private wanted: Topology = { topics: [], subscriptions: [], deadLetterTopics: [] };
  private routes: ReadonlyMap<string, readonly SqsQueue[]> = new Map();
  private largest = largestPayload(DEFAULT_MAX_BYTES);

  constructor(private readonly settings: SqsSettings) {
    this.connection = new SqsConnection(settings);
    this.topology = new SqsTopology(this.connection, new SqsNames(settings.namespace), settings);
    this.publisher = new SqsPublisher(this.connection, settings.logger);
  }

  /** Until `open` has asked the queues, what the smallest ones take. */
  get maxMessageBytes(): number {
    return this.largest;
  }

  async open(topology: Topology): Promise<void> {
    this.routes = await this.topology.open(topology);
    this.wanted = topology;
    const limits = [...this.routes.values()].flat().map(({ maxMessageBytes }) => maxMessageBytes);
    if (limits.length > 0) this.largest = largestPayload(Math.min(...limits));
  }

  async serve(subscriptions: readonly Subscription[]): Promise<void> {
    const others = subscriptions.filter(
      ({ group, topic }) => !this.wanted.subscriptions.some((known) => known.group === group && known.topic === topic),
    );
    if (others.length > 0) await this.open({ ...this.wanted, subscriptions: [...this.wanted.subscriptions, ...others] });
  }

  publish(messages: readonly OutgoingMessage[]): Promise<readonly (Error | undefined)[]> {
    return this.publisher.publish(messages, this.routes, this.largest);
  }

  async subscribe(subscription: Subscription, deliver: Deliver, options: SubscribeOptions): Promise<ActiveSubscription> {
    // Queues that were deleted meanwhile are made again.
    const queues = await this.topology.ensureSubscription(subscription);
    const { visibilityTimeoutSeconds: visibilitySeconds, maxReceiveCount } = this.settings.sqs;
    const { connection } = this;
    const { logger } = this.settings;
    const active = new SqsSubscription(subscription, deliver, options, { queues, visibilitySeconds, maxReceiveCount, connection, logger });
    active.start();
    return active;
  }

  async check(): Promise<void> {
    const known = [...this.routes.values()].flat()[0];
    try {
      await request<unknown>(CHECK_TIMEOUT_MS, (options) =>
        known
          ? this.connection.settling.getQueueUrl({ QueueName: known.name }, options)
          : this.connection.settling.listQueues({ MaxResults: 1 }, options),
      );
    } catch (error) {
      if (isMissingQueue(error)) return; // it answers; whoever uses that queue says what is wrong with it
      throw unavailable('SQS cannot be reached', error);
    }
  }

  async lag(subscription: Subscription): Promise<number> {
    try {
      const { main, undeliverable } = await this.topology.queuesOf(subscription);
      const counts = await Promise.all([main, undeliverable].map((queue) => this.count(queue)));
      return counts.reduce((sum, count) => sum + count, 0);
    } catch (error) {
      throw unavailable(`the lag of group "${subscription.group}" on topic "${subscription.topic}" is not known`, error);
    }
  }

  close(): Promise<void> {
    this.connection.close();
    return Promise.resolve();
  }

  private async count({ url }: SqsQueue): Promise<number> {
    const { Attributes: attributes = {} } = await request(LAG_TIMEOUT_MS, (options) =>
      this.connection.settling.getQueueAttributes({ QueueUrl: url, AttributeNames: [...COUNTS] }, options),
    );
    return COUNTS.reduce((sum, name) => sum + Number(attributes[name] ?? 0), 0);
  }
}
