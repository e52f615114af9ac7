import type { Channel } from 'amqplib';
import type { Logger } from '../../../observability/logger.js';
import type { ActiveSubscription, Deliver, SubscribeOptions, Subscription } from '../broker-adapter.js';
import { Acknowledgements } from './acknowledgements.js';
import { DeliveryGate } from './delivery-gate.js';
import { answered, closeChannel, unavailable, type RabbitmqConnection } from './rabbitmq.connection.js';
import type { RabbitmqNames } from './rabbitmq.names.js';
import { RabbitmqQueueConsumer } from './rabbitmq.queue-consumer.js';
import { PREFETCH } from './rabbitmq.settings.js';

export interface SubscriptionParts {
  readonly connection: RabbitmqConnection;
  readonly names: RabbitmqNames;
  readonly deliveryLimit: number;
  readonly logger: Logger;
  readonly onEnd: () => void;
}

/**
 * All queues of one subscription, consumed on one channel.
 *
 * It never cancels a consumer: while messages are unacknowledged here, the broker would at once give the next
 * consumer the later ones (tried on 3.10 and 4.0). What is unacknowledged when the channel closes goes back to
 * the queue's head in its order, before the next consumer gets anything.
 */
export class RabbitmqSubscription implements ActiveSubscription {
  private channel: Channel | undefined;
  private acknowledgements: Acknowledgements | undefined;
  private consumers: RabbitmqQueueConsumer[] = [];
  private readonly gate: DeliveryGate;
  private established = false;
  private down: Error | undefined;
  private closing: Promise<void> | undefined;

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
    return this.acknowledgements?.pending ?? 0;
  }

  async start(): Promise<void> {
    const { group, topic } = this.subscription;
    try {
      const channel = await this.openChannel();
      await answered(this.consume(channel));
      if (this.down) throw this.down;
      this.established = true;
    } catch (error) {
      await this.close();
      throw unavailable(`group "${group}" could not subscribe to "${topic}"`, error as Error);
    }
  }

  close(): Promise<void> {
    this.closing ??= this.drainAndClose();
    return this.closing;
  }

  private async openChannel(): Promise<Channel> {
    const { connection } = this.parts;
    const channel = await connection.channel();
    let channelError: Error | undefined;
    channel.on('error', (error) => (channelError = error));
    channel.on('close', () => this.fail(channelError ?? connection.lossReason ?? new Error('the channel was closed')));
    this.channel = channel;
    return channel;
  }

  private async consume(channel: Channel): Promise<void> {
    const { names } = this.parts;
    await channel.prefetch(PREFETCH); // counts for each consumer of the channel
    const acknowledgements = (this.acknowledgements = new Acknowledgements(channel, (reason) => this.fail(reason)));
    const queues = names.queues(this.subscription).map((queue) => ({ queue, undeliverable: undefined }));
    const givenUp = {
      queue: names.undeliverable(this.subscription),
      undeliverable: 'RabbitMQ gave it up: it was delivered too often and never settled',
    };
    this.consumers = [...queues, givenUp].map(
      (queue) =>
        new RabbitmqQueueConsumer(channel, {
          ...queue,
          topic: this.subscription.topic,
          deliveryLimit: this.parts.deliveryLimit,
          gate: this.gate,
          acknowledgements,
          deliver: this.deliver,
          logger: this.parts.logger,
          onDown: (reason) => this.fail(reason),
        }),
    );
    await Promise.all(this.consumers.map((consumer) => consumer.start()));
  }

  private async drainAndClose(): Promise<void> {
    await Promise.all(this.consumers.map((consumer) => consumer.drain()));
    if (this.channel && !this.down) {
      this.acknowledgements?.flush();
      await closeChannel(this.channel);
    }
    this.parts.onEnd();
  }

  private fail(reason: Error): void {
    if (this.down) return;
    this.down = reason;
    for (const consumer of this.consumers) consumer.lose(reason);
    this.acknowledgements?.lose();
    if (this.channel) void closeChannel(this.channel);
    if (!this.established || this.closing) return;
    this.options.onDown(unavailable(`group "${this.subscription.group}" lost its subscription to "${this.subscription.topic}"`, reason));
  }
}
