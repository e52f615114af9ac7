import type { Channel, ConsumeMessage } from 'amqplib';
import { afterThisTurn } from '../../../database/after-this-turn.js';
import { PREFETCH } from './rabbitmq.settings.js';

/** So long a word may wait for company; what dies meanwhile is delivered again, and recognised by the inbox. */
const GATHER_MS = 5;
/** So many do not wait longer than for the end of the turn: half of what the broker gives ahead of one queue. */
const ENOUGH = PREFETCH / 2;

/**
 * Acknowledges the deliveries of one channel. What is settled within a few milliseconds goes out together: one word for
 * all up to the first delivery that is not settled yet, and one for each behind it. A quorum queue writes every such
 * word to its log, so they cost the broker as much as messages do.
 *
 * Why nothing is acknowledged that is not settled: AMQP's word for "all up to this one" means the unacknowledged
 * deliveries of the channel, and each of them is known here before any later one is, because the broker numbers
 * them in the order in which it sends them.
 */
export class Acknowledgements {
  /** Not acknowledged yet, in the order of their tags. */
  private readonly open = new Map<number, ConsumeMessage>();
  private readonly settled = new Set<number>();
  private soon: NodeJS.Timeout | undefined;
  private readonly flushThisTurn = afterThisTurn(() => this.flush());

  constructor(
    private readonly channel: Pick<Channel, 'ack'>,
    private readonly onDown: (reason: Error) => void,
  ) {}

  /** How many deliveries the broker still holds for us. */
  get pending(): number {
    return this.open.size;
  }

  /** To be told of every delivery of the channel, as it comes. */
  received(message: ConsumeMessage): void {
    this.open.set(message.fields.deliveryTag, message);
  }

  settle(message: ConsumeMessage): void {
    this.settled.add(message.fields.deliveryTag);
    if (this.settled.size >= ENOUGH) this.flushThisTurn();
    else this.soon ??= setTimeout(() => this.flush(), GATHER_MS);
  }

  /** Sends what is to be acknowledged now. */
  flush(): void {
    this.noLonger();
    let upTo: ConsumeMessage | undefined;
    for (const [tag, message] of this.open) {
      if (!this.settled.delete(tag)) break;
      this.open.delete(tag);
      upTo = message;
    }
    try {
      if (upTo) this.channel.ack(upTo, true);
      for (const tag of this.settled) {
        this.channel.ack(this.open.get(tag) as ConsumeMessage);
        this.open.delete(tag);
      }
      this.settled.clear();
    } catch (error) {
      this.onDown(error as Error);
    }
  }

  /** The right to every delivery is gone with the channel; the broker delivers them again. */
  lose(): void {
    this.noLonger();
    this.open.clear();
    this.settled.clear();
  }

  private noLonger(): void {
    clearTimeout(this.soon);
    this.soon = undefined;
  }
}
