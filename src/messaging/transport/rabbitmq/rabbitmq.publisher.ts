import amqp from 'amqplib';
import type { ConfirmChannel, Message } from 'amqplib';
import { BrokerUnavailableError, messageBytes, MessageRejectedError, type OutgoingMessage } from '../broker-adapter.js';
import { replyOf, type RabbitmqConnection } from './rabbitmq.connection.js';
import { propertiesOf, unencodable } from './rabbitmq.message.js';
import type { RabbitmqNames } from './rabbitmq.names.js';
import { within } from '../within.js';

/**
 * The broker's default limit of a body, 16 MiB since 4.0, less the 64 KiB that headers may take at most in amqplib;
 * so payload and headers together within this are within both.
 */
export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024 - 64 * 1024;

/** What amqplib tells each unconfirmed message when its channel closes. */
const CHANNEL_CLOSED = 'channel closed';

export interface PublisherSettings {
  readonly connection: RabbitmqConnection;
  readonly names: RabbitmqNames;
  /** How long the broker may confirm nothing at all before it counts as unreachable. */
  readonly confirmTimeoutMs: number;
}

/** Which topics there are, and which of them somebody reads. */
export interface Routes {
  readonly topics: ReadonlySet<string>;
  readonly withReaders: ReadonlySet<string>;
}

/** Publishes batches on one confirm channel, which is opened when needed and given up when in doubt. */
export class RabbitmqPublisher {
  private channel: ConfirmChannel | undefined;
  private opening: Promise<ConfirmChannel> | undefined;

  constructor(private readonly settings: PublisherSettings) {}

  async publish(messages: readonly OutgoingMessage[], routes: Routes): Promise<readonly (Error | undefined)[]> {
    let channel: ConfirmChannel;
    try {
      channel = await this.open();
    } catch (error) {
      return messages.map(() => error as Error);
    }
    return new PublishBatch(channel, messages, routes, this.settings, (reason) => this.giveUp(reason)).run();
  }

  private async open(): Promise<ConfirmChannel> {
    if (this.channel) return this.channel;
    const opening = (this.opening ??= this.openChannel());
    try {
      return await within(this.settings.confirmTimeoutMs, 'RabbitMQ did not open a channel', opening);
    } catch (error) {
      this.settings.connection.drop(error as Error);
      throw error;
    }
  }

  private async openChannel(): Promise<ConfirmChannel> {
    try {
      const channel = await this.settings.connection.confirmChannel();
      channel.on('close', () => {
        if (this.channel === channel) this.channel = undefined;
      });
      this.channel = channel;
      return channel;
    } finally {
      this.opening = undefined;
    }
  }

  /** A confirm that comes late would count for another message of the same number. */
  private giveUp(reason: Error): void {
    this.channel = undefined;
    this.settings.connection.drop(reason);
  }
}

interface Entry {
  readonly index: number;
  readonly message: OutgoingMessage;
  readonly exchange: string;
  readonly routingKey: string;
  /** The next one of its key, which goes once this one is confirmed. */
  next?: Entry;
  /** The broker has returned it as unroutable; its confirm, which comes nevertheless, means nothing. */
  returned?: string;
}

/**
 * One batch. Each key has at most one unconfirmed message: a later one sent ahead could be taken where the
 * earlier one is refused. Keys do not wait for each other.
 */
class PublishBatch {
  private readonly outcomes: (Error | undefined)[];
  private readonly ready: Entry[] = [];
  private readonly unconfirmed = new Set<Entry>();
  private open: number;
  /** amqplib's buffer is full: what was published is in it, and nothing more goes in until it has drained. */
  private full = false;
  private channelError: Error | undefined;
  private timer: NodeJS.Timeout | undefined;
  private finish: () => void = () => undefined;

  constructor(
    private readonly channel: ConfirmChannel,
    messages: readonly OutgoingMessage[],
    private readonly routes: Routes,
    private readonly settings: PublisherSettings,
    private readonly giveUp: (reason: Error) => void,
  ) {
    this.outcomes = messages.map(() => undefined);
    this.open = messages.length;
    const lastOfKey = new Map<string, Entry>();
    for (const [index, message] of messages.entries()) {
      const exchange = settings.names.topic(message.topic);
      const entry: Entry = { index, message, exchange, routingKey: settings.names.routingKey(message.key, message.type) };
      const orderedBy = `${message.topic}\0${message.key}`;
      const former = lastOfKey.get(orderedBy);
      if (former) former.next = entry;
      else this.ready.push(entry);
      lastOfKey.set(orderedBy, entry);
    }
    this.ready.reverse(); // taken from the end
  }

  async run(): Promise<readonly (Error | undefined)[]> {
    const { channel } = this;
    const onReturn = (message: Message): void => this.returned(message);
    const onError = (error: Error): void => void (this.channelError = error);
    const onClose = (): void => this.abandon(this.settings.connection.lossReason ?? new Error('the channel was closed'));
    const onDrain = (): void => {
      this.full = false;
      this.timer?.refresh();
      this.pump();
    };
    channel.on('return', onReturn).on('error', onError).on('close', onClose).on('drain', onDrain);
    try {
      await new Promise<void>((resolve) => {
        this.finish = resolve;
        this.timer = setTimeout(() => this.timedOut(), this.settings.confirmTimeoutMs);
        this.pump();
      });
    } finally {
      clearTimeout(this.timer);
      channel.off('return', onReturn).off('error', onError).off('close', onClose).off('drain', onDrain);
    }
    return this.outcomes;
  }

  private pump(): void {
    while (!this.full && this.open > 0) {
      const entry = this.ready.pop();
      if (!entry) break;
      this.send(entry);
    }
    if (this.open === 0) this.finish();
  }

  private send(entry: Entry): void {
    const { message, exchange, routingKey } = entry;
    const refusal = this.refusalOf(message);
    if (refusal !== undefined) return this.refuse(entry, refusal);
    const properties = propertiesOf(message, this.routes.withReaders.has(message.topic));
    this.unconfirmed.add(entry);
    try {
      this.full = !this.channel.publish(exchange, routingKey, message.payload, properties, (error: Error | null) =>
        this.confirmed(entry, error),
      );
    } catch (error) {
      this.unconfirmed.delete(entry);
      if (error instanceof amqp.IllegalOperationError) this.abandon(this.settings.connection.lossReason ?? error);
      else this.refuse(entry, `it does not fit into AMQP: ${(error as Error).message}`);
    }
  }

  private refusalOf(message: OutgoingMessage): string | undefined {
    if (!this.routes.topics.has(message.topic)) return `there is no topic "${message.topic}" in the topology`;
    const size = messageBytes(message);
    if (size > MAX_MESSAGE_BYTES) return `it has ${size} bytes, at most ${MAX_MESSAGE_BYTES} are accepted`;
    return unencodable(message);
  }

  private confirmed(entry: Entry, error: Error | null): void {
    // A confirm after the end of the batch, or of the channel, is about an entry that was answered for already.
    if (!this.unconfirmed.has(entry)) return;
    if (error?.message === CHANNEL_CLOSED) return this.abandon(this.settings.connection.lossReason ?? error);
    this.unconfirmed.delete(entry);
    this.timer?.refresh();
    if (error)
      this.fail(
        entry,
        new BrokerUnavailableError(`RabbitMQ did not take event ${entry.message.eventId}: ${error.message}`, { cause: error }),
      );
    else if (entry.returned !== undefined) {
      this.refuse(
        entry,
        `no queue is bound to exchange "${entry.exchange}" for routing key "${entry.routingKey}" (${entry.returned}); start the consuming application once with BROKER_PROVISION=true, or restore the binding`,
      );
    } else {
      this.open--;
      if (entry.next) this.ready.push(entry.next);
    }
    this.pump();
  }

  /** A return comes before its confirm. All unconfirmed messages of that name and route share its fate. */
  private returned({ fields, properties }: Message): void {
    const { exchange, routingKey, replyText } = fields as { exchange: string; routingKey: string; replyText?: string };
    for (const entry of this.unconfirmed) {
      if (entry.message.eventId === properties.messageId && entry.routingKey === routingKey && entry.exchange === exchange)
        entry.returned = replyText ?? 'NO_ROUTE';
    }
  }

  private refuse(entry: Entry, reason: string): void {
    this.fail(
      entry,
      new MessageRejectedError(`RabbitMQ cannot take event ${entry.message.eventId} on topic "${entry.message.topic}": ${reason}`),
    );
  }

  /** Answers for an entry and for what waits behind it, which was not sent. */
  private fail(entry: Entry, error: Error): void {
    this.outcomes[entry.index] = error;
    this.open--;
    for (let behind = entry.next; behind; behind = behind.next) {
      this.outcomes[behind.index] =
        error instanceof MessageRejectedError
          ? new MessageRejectedError(
              `event ${behind.message.eventId} was not sent, because ${entry.message.eventId} before it was refused`,
              { cause: error },
            )
          : error;
      this.open--;
    }
  }

  /** The connection, or the channel, is gone: nothing more is known of what was not confirmed. */
  private abandon(reason: Error): void {
    const unsent = this.ready.splice(0);
    const unconfirmed = [...this.unconfirmed];
    this.unconfirmed.clear();
    for (const entry of unconfirmed) this.fail(entry, this.blame(entry, this.channelError ?? reason));
    for (const entry of unsent)
      this.fail(entry, new BrokerUnavailableError(`event ${entry.message.eventId} was not sent: ${reason.message}`, { cause: reason }));
    this.finish();
  }

  private timedOut(): void {
    const alarm = this.settings.connection.blockedBy;
    const reason = new BrokerUnavailableError(
      alarm === undefined
        ? `RabbitMQ has confirmed nothing for ${this.settings.confirmTimeoutMs} ms`
        : `RabbitMQ has taken nothing for ${this.settings.confirmTimeoutMs} ms because of an alarm (${alarm}); free memory or disk on the server`,
    );
    this.abandon(reason);
    this.giveUp(reason);
  }

  /** The broker closes the whole channel because of one message; that one must not be sent again as it is. */
  private blame(entry: Entry, error: Error): Error {
    const { code, text } = replyOf(error);
    const tooLarge = code === 406 && /message size (\d+)/.exec(text)?.[1] === String(entry.message.payload.length);
    const noExchange = (code === 404 || code === 403) && text.includes(`exchange '${entry.exchange}'`);
    if (tooLarge || noExchange)
      return new MessageRejectedError(`RabbitMQ refuses event ${entry.message.eventId}: ${text}`, { cause: error });
    return new BrokerUnavailableError(`RabbitMQ has not confirmed event ${entry.message.eventId}: ${text}`, { cause: error });
  }
}
