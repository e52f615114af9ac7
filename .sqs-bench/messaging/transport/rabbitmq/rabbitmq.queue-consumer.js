import { formerDeliveries, incomingOf } from './rabbitmq.message.js';
/** How long a released message rests before it is delivered again. */ const RELEASE_PAUSE_MS = 1_000;
/** Consumes one queue; delivers in the queue's order, without waiting for the former delivery to settle. */ export class RabbitmqQueueConsumer {
  channel;
  settings;
  lost = new AbortController();
  released = [];
  inFlight = 0;
  unacknowledged = 0;
  atHead = true;
  draining = false;
  pause;
  whenIdle;
  constructor(channel, settings) {
    this.channel = channel;
    this.settings = settings;
  }
  /** What the broker has given us and we have not acknowledged. */ get pending() {
    return this.unacknowledged;
  }
  async start() {
    await this.channel.consume(this.settings.queue, (message) => this.receive(message));
  }
  /** Hands over nothing more, and resolves when everything handed over has settled and is acknowledged. */ async drain() {
    this.draining = true;
    clearTimeout(this.pause);
    if (this.inFlight > 0) await new Promise((resolve) => (this.whenIdle = resolve));
  }
  /** The right to every unsettled delivery is lost; the broker gives them to somebody else. */ lose(reason) {
    clearTimeout(this.pause);
    this.released = [];
    this.unacknowledged = 0;
    this.lost.abort(reason);
  }
  receive(message) {
    const { queue, gate, undeliverable, onDown } = this.settings;
    if (!message) {
      onDown(new Error(`RabbitMQ cancelled the consumer of queue "${queue}": the queue was deleted, or its node is gone`));
      return;
    }
    this.unacknowledged++;
    const delivery = {
      message,
      undeliverable: undeliverable ?? this.givenUp(message),
    };
    gate.push(() => this.handOver(delivery));
  }
  /**
   * A message that was in hand each time the process died must not be tried again. Only the queue's head is
   * suspected: what waited behind it came back as often, and through no fault of its own. So it becomes a dead
   * letter in its place, before later events of its key; the broker's own limit is twice as far away.
   */ givenUp(message) {
    const { atHead } = this;
    this.atHead = false;
    const times = formerDeliveries(message);
    if (!atHead || times < this.settings.deliveryLimit) return undefined;
    return `it was delivered ${times} times and never settled: each time the process died or lost the broker`;
  }
  handOver(delivery) {
    if (this.draining || this.lost.signal.aborted) return undefined;
    if (this.released.length > 0) {
      // It must not overtake an earlier one of its key, which may be among those.
      this.released.push(delivery);
      return undefined;
    }
    this.inFlight++;
    return this.settle(delivery);
  }
  async settle(delivery) {
    const { message, undeliverable } = delivery;
    const settlement = await this.settings.deliver(incomingOf(message, this.settings.topic, this.lost.signal, undeliverable));
    this.inFlight--;
    if (settlement === 'settled') this.acknowledge(message);
    else this.released.push(delivery);
    if (this.inFlight > 0) return;
    this.whenIdle?.();
    if (this.released.length > 0 && !this.draining && !this.lost.signal.aborted) this.rest();
  }
  acknowledge(message) {
    if (this.lost.signal.aborted) {
      // The right to it went with the channel; the broker delivers it again, and the inbox recognises it.
      this.settings.logger.debug(
        {
          queue: this.settings.queue,
        },
        'settled after the channel was lost; it is delivered again',
      );
      return;
    }
    try {
      this.channel.ack(message);
      this.unacknowledged--;
    } catch (error) {
      this.settings.onDown(error);
    }
  }
  /** Delivers again from here, not from the broker: each return to the queue would count towards its delivery limit. */ rest() {
    this.pause = setTimeout(() => {
      const again = this.released.sort((a, b) => a.message.fields.deliveryTag - b.message.fields.deliveryTag);
      this.released = [];
      for (const delivery of again) this.settings.gate.push(() => this.handOver(delivery));
    }, RELEASE_PAUSE_MS);
  }
}

//# sourceMappingURL=rabbitmq.queue-consumer.js.map
