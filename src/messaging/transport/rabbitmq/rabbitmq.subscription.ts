import type { Logger } from '../../../observability/logger.js';
import type { ActiveSubscription, Deliver, SubscribeOptions, Subscription } from '../broker-adapter.js';
import { DeliveryGate } from './delivery-gate.js';
import { closeChannel, unavailable, type RabbitmqConnection } from './rabbitmq.connection.js';
import type { RabbitmqNames } from './rabbitmq.names.js';
import { RabbitmqQueueConsumer } from './rabbitmq.queue-consumer.js';

export interface SubscriptionParts {
  readonly connection: RabbitmqConnection;
  readonly names: RabbitmqNames;
  readonly deliveryLimit: number;
  readonly logger: Logger;
  readonly onEnd: () => void;
}

/** All queues of one subscription. When one of its channels is lost, all of it is: the caller makes it anew. */
export class RabbitmqSubscription implements ActiveSubscription {
  private consumers: RabbitmqQueueConsumer[] = [];
  private readonly gate: DeliveryGate;
  private established = false;
  private down: Error | undefined;
  private closed: Promise<void> | undefined;

  constructor(
    readonly subscription: Subscription,
    private readonly deliver: Deliver,
    private readonly options: SubscribeOptions,
    private readonly parts: SubscriptionParts,
  ) {
    this.gate = new DeliveryGate(options.maxInFlight);
  }

  /** What the broker has given to this instance and what is not acknowledged yet. */
  get pending(): number {
    return this.consumers.reduce((sum, consumer) => sum + consumer.pending, 0);
  }

  async start(): Promise<void> {
    const { names } = this.parts;
    const queues = names.queues(this.subscription).map((queue) => this.consume(queue));
    const undeliverable = this.consume(
      names.undeliverable(this.subscription),
      'RabbitMQ gave it up: it was delivered too often and never settled',
    );
    const failed = (await Promise.allSettled([...queues, undeliverable])).find((result) => result.status === 'rejected');
    const reason = this.down ?? (failed?.reason as Error | undefined);
    if (reason) {
      await this.close();
      throw unavailable(`group "${this.subscription.group}" could not subscribe to "${this.subscription.topic}"`, reason);
    }
    this.established = true;
  }

  close(): Promise<void> {
    this.closed ??= Promise.all(this.consumers.map((consumer) => consumer.close())).then(() => this.parts.onEnd());
    return this.closed;
  }

  private async consume(queue: string, undeliverable?: string): Promise<void> {
    const channel = await this.parts.connection.channel();
    const consumer = new RabbitmqQueueConsumer(channel, {
      queue,
      topic: this.subscription.topic,
      ...(undeliverable !== undefined && { undeliverable }),
      deliveryLimit: this.parts.deliveryLimit,
      gate: this.gate,
      deliver: this.deliver,
      logger: this.parts.logger,
      onDown: (reason) => this.fail(reason),
      lossReason: () => this.parts.connection.lossReason,
    });
    this.consumers.push(consumer);
    try {
      await consumer.start();
    } catch (error) {
      await closeChannel(channel);
      throw error;
    }
  }

  private fail(reason: Error): void {
    if (this.down) return;
    this.down = reason;
    for (const consumer of this.consumers) consumer.abandon(reason);
    if (this.established)
      this.options.onDown(unavailable(`group "${this.subscription.group}" lost its subscription to "${this.subscription.topic}"`, reason));
  }
}
