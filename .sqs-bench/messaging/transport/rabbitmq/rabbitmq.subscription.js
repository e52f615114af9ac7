import { DeliveryGate } from './delivery-gate.js';
import { answered, closeChannel, unavailable } from './rabbitmq.connection.js';
import { RabbitmqQueueConsumer } from './rabbitmq.queue-consumer.js';
import { PREFETCH } from './rabbitmq.settings.js';
/**
 * All queues of one subscription, consumed on one channel.
 *
 * It never cancels a consumer: while messages are unacknowledged here, the broker would at once give the next
 * consumer the later ones (tried on 3.10 and 4.0). What is unacknowledged when the channel closes goes back to
 * the queue's head in its order, before the next consumer gets anything.
 */ export class RabbitmqSubscription {
  subscription;
  deliver;
  options;
  parts;
  channel;
  consumers = [];
  gate;
  established = false;
  down;
  closing;
  constructor(subscription, deliver, options, parts) {
    this.subscription = subscription;
    this.deliver = deliver;
    this.options = options;
    this.parts = parts;
    this.gate = new DeliveryGate(options.maxInFlight);
  }
  /** What the broker has given to this instance and what is not acknowledged yet. */ get pending() {
    return this.consumers.reduce((sum, consumer) => sum + consumer.pending, 0);
  }
  async start() {
    const { group, topic } = this.subscription;
    try {
      const channel = await this.openChannel();
      await answered(this.consume(channel));
      if (this.down) throw this.down;
      this.established = true;
    } catch (error) {
      await this.close();
      throw unavailable(`group "${group}" could not subscribe to "${topic}"`, error);
    }
  }
  close() {
    this.closing ??= this.drainAndClose();
    return this.closing;
  }
  async openChannel() {
    const { connection } = this.parts;
    const channel = await connection.channel();
    let channelError;
    channel.on('error', (error) => (channelError = error));
    channel.on('close', () => this.fail(channelError ?? connection.lossReason ?? new Error('the channel was closed')));
    this.channel = channel;
    return channel;
  }
  async consume(channel) {
    const { names } = this.parts;
    await channel.prefetch(PREFETCH); // counts for each consumer of the channel
    const queues = names.queues(this.subscription).map((queue) => ({
      queue,
      undeliverable: undefined,
    }));
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
          deliver: this.deliver,
          logger: this.parts.logger,
          onDown: (reason) => this.fail(reason),
        }),
    );
    await Promise.all(this.consumers.map((consumer) => consumer.start()));
  }
  async drainAndClose() {
    await Promise.all(this.consumers.map((consumer) => consumer.drain()));
    if (this.channel && !this.down) await closeChannel(this.channel);
    this.parts.onEnd();
  }
  fail(reason) {
    if (this.down) return;
    this.down = reason;
    for (const consumer of this.consumers) consumer.lose(reason);
    if (this.channel) void closeChannel(this.channel);
    if (!this.established || this.closing) return;
    this.options.onDown(unavailable(`group "${this.subscription.group}" lost its subscription to "${this.subscription.topic}"`, reason));
  }
}

//# sourceMappingURL=rabbitmq.subscription.js.map
