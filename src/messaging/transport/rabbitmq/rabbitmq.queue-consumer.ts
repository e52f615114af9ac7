import type { Channel, ConsumeMessage } from 'amqplib';
import type { Logger } from '../../../observability/logger.js';
import type { Deliver } from '../broker-adapter.js';
import type { DeliveryGate } from './delivery-gate.js';
import { closeChannel } from './rabbitmq.connection.js';
import { formerDeliveries, incomingOf } from './rabbitmq.message.js';
import { PREFETCH } from './rabbitmq.settings.js';

/** How long a released message rests before it is delivered again. */
const RELEASE_PAUSE_MS = 1_000;

export interface QueueConsumerSettings {
  readonly queue: string;
  readonly topic: string;
  /** Why each message of this queue is undeliverable, if the queue is the one the broker puts such messages into. */
  readonly undeliverable?: string;
  /** From so many former deliveries on, the message at the queue's head is given up. */
  readonly deliveryLimit: number;
  readonly gate: DeliveryGate;
  readonly deliver: Deliver;
  readonly logger: Logger;
  readonly onDown: (reason: Error) => void;
  /** Why the connection is lost, when it is. */
  readonly lossReason: () => Error | undefined;
}

interface Delivery {
  readonly message: ConsumeMessage;
  /** Why it must not be handled, if so. */
  readonly undeliverable: string | undefined;
}

/**
 * Consumes one queue on a channel of its own; delivers in the queue's order without waiting for the former one.
 *
 * It never cancels its consumer while something is unacknowledged: the broker would at once give the next
 * consumer later messages, although earlier ones are still here (tried on 3.10 and 4.0). What is unacknowledged
 * when the channel closes goes back to the queue's head in its order, before the next consumer gets anything.
 */
export class RabbitmqQueueConsumer {
  private readonly lost = new AbortController();
  private released: Delivery[] = [];
  private inFlight = 0;
  private unacknowledged = 0;
  private atHead = true;
  private closing = false;
  private pause: NodeJS.Timeout | undefined;
  private channelError: Error | undefined;
  private whenIdle: (() => void) | undefined;

  constructor(
    private readonly channel: Channel,
    private readonly settings: QueueConsumerSettings,
  ) {
    channel.on('error', (error) => (this.channelError = error));
    channel.on('close', () =>
      this.fail(this.channelError ?? settings.lossReason() ?? new Error(`the channel of queue "${settings.queue}" was closed`)),
    );
  }

  /** What the broker has given us and we have not acknowledged. */
  get pending(): number {
    return this.unacknowledged;
  }

  async start(): Promise<void> {
    await this.channel.prefetch(PREFETCH);
    await this.channel.consume(this.settings.queue, (message) => this.receive(message));
  }

  /** Hands over nothing more, waits for what is in flight, acknowledges it, and gives the rest back in its place. */
  async close(): Promise<void> {
    this.closing = true;
    clearTimeout(this.pause);
    if (this.inFlight > 0) await new Promise<void>((resolve) => (this.whenIdle = resolve));
    if (!this.lost.signal.aborted) await closeChannel(this.channel);
  }

  /** The right to every unsettled delivery is lost; the broker gives them to somebody else. */
  fail(reason: Error): void {
    if (this.lost.signal.aborted) return;
    clearTimeout(this.pause);
    this.released = [];
    this.unacknowledged = 0;
    this.lost.abort(reason);
    if (!this.closing) this.settings.onDown(reason);
  }

  /** Lets go at once, without waiting for what is in flight. */
  abandon(reason: Error): void {
    this.fail(reason);
    void closeChannel(this.channel);
  }

  private receive(message: ConsumeMessage | null): void {
    if (!message)
      return this.fail(
        new Error(`RabbitMQ cancelled the consumer of queue "${this.settings.queue}": the queue was deleted or its node is gone`),
      );
    this.unacknowledged++;
    const delivery = { message, undeliverable: this.settings.undeliverable ?? this.givenUp(message) };
    this.settings.gate.push(() => this.handOver(delivery));
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
    return atHead && times >= this.settings.deliveryLimit
      ? `it was delivered ${times} times and never settled: each time the process died or lost the broker`
      : undefined;
  }

  private handOver(delivery: Delivery): Promise<void> | undefined {
    if (this.closing || this.lost.signal.aborted) return undefined;
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
    if (this.released.length > 0 && !this.closing && !this.lost.signal.aborted)
      this.pause = setTimeout(() => this.redeliver(), RELEASE_PAUSE_MS);
  }

  private acknowledge(message: ConsumeMessage): void {
    // The right to it went with the channel; the broker delivers it again, and the inbox recognises it.
    if (this.lost.signal.aborted)
      return this.settings.logger.debug({ queue: this.settings.queue }, 'settled after the channel was lost; it is delivered again');
    try {
      this.channel.ack(message);
      this.unacknowledged--;
    } catch (error) {
      this.fail(error as Error);
    }
  }

  /** From here, not from the broker: each return to the queue would count towards its delivery limit. */
  private redeliver(): void {
    const again = this.released.sort((a, b) => a.message.fields.deliveryTag - b.message.fields.deliveryTag);
    this.released = [];
    for (const delivery of again) this.settings.gate.push(() => this.handOver(delivery));
  }
}
