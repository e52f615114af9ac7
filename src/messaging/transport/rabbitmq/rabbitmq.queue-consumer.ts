import type { Channel, ConsumeMessage } from 'amqplib';
import type { Logger } from '../../../observability/logger.js';
import type { Deliver } from '../broker-adapter.js';
import type { Acknowledgements } from './acknowledgements.js';
import type { DeliveryGate } from './delivery-gate.js';
import { formerDeliveries, incomingOf } from './rabbitmq.message.js';

/** How long a released message rests before it is delivered again. */
const RELEASE_PAUSE_MS = 1_000;

export interface QueueConsumerSettings {
  readonly queue: string;
  readonly topic: string;
  /** Why each message of this queue is undeliverable, if the queue is the one the broker puts such messages into. */
  readonly undeliverable: string | undefined;
  /** From so many former deliveries on, the message at the queue's head is given up. */
  readonly deliveryLimit: number;
  readonly gate: DeliveryGate;
  readonly acknowledgements: Acknowledgements;
  readonly deliver: Deliver;
  readonly logger: Logger;
  readonly onDown: (reason: Error) => void;
}

interface Delivery {
  readonly message: ConsumeMessage;
  /** Why it must not be handled, if so. */
  readonly undeliverable: string | undefined;
}

/** Consumes one queue; delivers in the queue's order, without waiting for the former delivery to settle. */
export class RabbitmqQueueConsumer {
  private readonly lost = new AbortController();
  private released: Delivery[] = [];
  private inFlight = 0;
  private atHead = true;
  private draining = false;
  private pause: NodeJS.Timeout | undefined;
  private whenIdle: (() => void) | undefined;

  constructor(
    private readonly channel: Channel,
    private readonly settings: QueueConsumerSettings,
  ) {}

  async start(): Promise<void> {
    await this.channel.consume(this.settings.queue, (message) => this.receive(message));
  }

  /** Hands over nothing more, and resolves when everything handed over has settled. */
  async drain(): Promise<void> {
    this.draining = true;
    clearTimeout(this.pause);
    if (this.inFlight > 0) await new Promise<void>((resolve) => (this.whenIdle = resolve));
  }

  /** The right to every unsettled delivery is lost; the broker gives them to somebody else. */
  lose(reason: Error): void {
    clearTimeout(this.pause);
    this.released = [];
    this.lost.abort(reason);
  }

  private receive(message: ConsumeMessage | null): void {
    const { queue, gate, acknowledgements, undeliverable, onDown } = this.settings;
    if (!message) {
      onDown(new Error(`RabbitMQ cancelled the consumer of queue "${queue}": the queue was deleted, or its node is gone`));
      return;
    }
    acknowledgements.received(message);
    const delivery = { message, undeliverable: undeliverable ?? this.givenUp(message) };
    gate.push(() => this.handOver(delivery));
  }

  /**
   * A message that was in hand each time the process died must not be tried again. Only the queue's head is
   * suspected: what waited behind it came back as often, and through no fault of its own. So it becomes a dead
   * letter in its place, before later events of its key; the broker's own limit is twice as far away.
   */
  private givenUp(message: ConsumeMessage): string | undefined {
    const { atHead } = this;
    this.atHead = false;
    const times = formerDeliveries(message);
    if (!atHead || times < this.settings.deliveryLimit) return undefined;
    return `it was delivered ${times} times and never settled: each time the process died or lost the broker`;
  }

  private handOver(delivery: Delivery): Promise<void> | undefined {
    if (this.draining || this.lost.signal.aborted) return undefined;
    if (this.released.length > 0) {
      // It must not overtake an earlier one of its key, which may be among those.
      this.released.push(delivery);
      return undefined;
    }
    this.inFlight++;
    return this.settle(delivery);
  }

  private async settle(delivery: Delivery): Promise<void> {
    const { message, undeliverable } = delivery;
    const settlement = await this.settings.deliver(incomingOf(message, this.settings.topic, this.lost.signal, undeliverable));
    this.inFlight--;
    if (settlement === 'settled') this.acknowledge(message);
    else this.released.push(delivery);
    if (this.inFlight > 0) return;
    this.whenIdle?.();
    if (this.released.length > 0 && !this.draining && !this.lost.signal.aborted) this.rest();
  }

  private acknowledge(message: ConsumeMessage): void {
    if (this.lost.signal.aborted) {
      // The right to it went with the channel; the broker delivers it again, and the inbox recognises it.
      this.settings.logger.debug({ queue: this.settings.queue }, 'settled after the channel was lost; it is delivered again');
      return;
    }
    this.settings.acknowledgements.settle(message);
  }

  /** Delivers again from here, not from the broker: each return to the queue would count towards its delivery limit. */
  private rest(): void {
    this.pause = setTimeout(() => {
      const again = this.released.sort((a, b) => a.message.fields.deliveryTag - b.message.fields.deliveryTag);
      this.released = [];
      for (const delivery of again) this.settings.gate.push(() => this.handOver(delivery));
    }, RELEASE_PAUSE_MS);
  }
}
