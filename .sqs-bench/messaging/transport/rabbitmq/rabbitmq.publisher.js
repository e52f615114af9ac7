import amqp from 'amqplib';
import { BrokerUnavailableError, MessageRejectedError } from '../broker-adapter.js';
import { replyOf } from './rabbitmq.connection.js';
import { propertiesOf, sizeOf, unencodable } from './rabbitmq.message.js';
import { within } from './within.js';
/**
 * The broker's default limit of a body, 16 MiB since 4.0, less the 64 KiB that headers may take at most in amqplib;
 * so payload and headers together within this are within both.
 */ export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024 - 64 * 1024;
/** What amqplib tells each unconfirmed message when its channel closes. */ const CHANNEL_CLOSED = 'channel closed';
/** Publishes batches on one confirm channel, which is opened when needed and given up when in doubt. */ export class RabbitmqPublisher {
  settings;
  channel;
  opening;
  constructor(settings) {
    this.settings = settings;
  }
  async publish(messages, routes) {
    let channel;
    try {
      channel = await this.open();
    } catch (error) {
      return messages.map(() => error);
    }
    return new PublishBatch(channel, messages, routes, this.settings, (reason) => this.giveUp(reason)).run();
  }
  async open() {
    if (this.channel) return this.channel;
    const opening = (this.opening ??= this.openChannel());
    try {
      return await within(this.settings.confirmTimeoutMs, 'RabbitMQ did not open a channel', opening);
    } catch (error) {
      this.settings.connection.drop(error);
      throw error;
    }
  }
  async openChannel() {
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
  /** A confirm that comes late would count for another message of the same number. */ giveUp(reason) {
    this.channel = undefined;
    this.settings.connection.drop(reason);
  }
}
/**
 * One batch. Each key has at most one unconfirmed message: a later one sent ahead could be taken where the
 * earlier one is refused. Keys do not wait for each other.
 */ let PublishBatch = class PublishBatch {
  channel;
  routes;
  settings;
  giveUp;
  outcomes;
  ready = [];
  unconfirmed = new Set();
  open;
  /** amqplib's buffer is full: what was published is in it, and nothing more goes in until it has drained. */ full = false;
  channelError;
  timer;
  finish = () => undefined;
  constructor(channel, messages, routes, settings, giveUp) {
    this.channel = channel;
    this.routes = routes;
    this.settings = settings;
    this.giveUp = giveUp;
    this.outcomes = messages.map(() => undefined);
    this.open = messages.length;
    const lastOfKey = new Map();
    for (const [index, message] of messages.entries()) {
      const exchange = settings.names.topic(message.topic);
      const entry = {
        index,
        message,
        exchange,
        routingKey: settings.names.routingKey(message.key, message.type),
      };
      const orderedBy = `${message.topic}\0${message.key}`;
      const former = lastOfKey.get(orderedBy);
      if (former) former.next = entry;
      else this.ready.push(entry);
      lastOfKey.set(orderedBy, entry);
    }
    this.ready.reverse(); // taken from the end
  }
  async run() {
    const { channel } = this;
    const onReturn = (message) => this.returned(message);
    const onError = (error) => void (this.channelError = error);
    const onClose = () => this.abandon(this.settings.connection.lossReason ?? new Error('the channel was closed'));
    const onDrain = () => {
      this.full = false;
      this.timer?.refresh();
      this.pump();
    };
    channel.on('return', onReturn).on('error', onError).on('close', onClose).on('drain', onDrain);
    try {
      await new Promise((resolve) => {
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
  pump() {
    while (!this.full && this.open > 0) {
      const entry = this.ready.pop();
      if (!entry) break;
      this.send(entry);
    }
    if (this.open === 0) this.finish();
  }
  send(entry) {
    const { message, exchange, routingKey } = entry;
    const refusal = this.refusalOf(message);
    if (refusal !== undefined) return this.refuse(entry, refusal);
    const properties = propertiesOf(message, this.routes.withReaders.has(message.topic));
    this.unconfirmed.add(entry);
    try {
      this.full = !this.channel.publish(exchange, routingKey, message.payload, properties, (error) => this.confirmed(entry, error));
    } catch (error) {
      this.unconfirmed.delete(entry);
      if (error instanceof amqp.IllegalOperationError) this.abandon(this.settings.connection.lossReason ?? error);
      else this.refuse(entry, `it does not fit into AMQP: ${error.message}`);
    }
  }
  refusalOf(message) {
    if (!this.routes.topics.has(message.topic)) return `there is no topic "${message.topic}" in the topology`;
    const size = sizeOf(message);
    if (size > MAX_MESSAGE_BYTES) return `it has ${size} bytes, at most ${MAX_MESSAGE_BYTES} are accepted`;
    return unencodable(message);
  }
  confirmed(entry, error) {
    // A confirm after the end of the batch, or of the channel, is about an entry that was answered for already.
    if (!this.unconfirmed.has(entry)) return;
    if (error?.message === CHANNEL_CLOSED) return this.abandon(this.settings.connection.lossReason ?? error);
    this.unconfirmed.delete(entry);
    this.timer?.refresh();
    if (error)
      this.fail(
        entry,
        new BrokerUnavailableError(`RabbitMQ did not take event ${entry.message.eventId}: ${error.message}`, {
          cause: error,
        }),
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
  /** A return comes before its confirm. All unconfirmed messages of that name and route share its fate. */ returned({
    fields,
    properties,
  }) {
    const { exchange, routingKey, replyText } = fields;
    for (const entry of this.unconfirmed) {
      if (entry.message.eventId === properties.messageId && entry.routingKey === routingKey && entry.exchange === exchange)
        entry.returned = replyText ?? 'NO_ROUTE';
    }
  }
  refuse(entry, reason) {
    this.fail(
      entry,
      new MessageRejectedError(`RabbitMQ cannot take event ${entry.message.eventId} on topic "${entry.message.topic}": ${reason}`),
    );
  }
  /** Answers for an entry and for what waits behind it, which was not sent. */ fail(entry, error) {
    this.outcomes[entry.index] = error;
    this.open--;
    for (let behind = entry.next; behind; behind = behind.next) {
      this.outcomes[behind.index] =
        error instanceof MessageRejectedError
          ? new MessageRejectedError(
              `event ${behind.message.eventId} was not sent, because ${entry.message.eventId} before it was refused`,
              {
                cause: error,
              },
            )
          : error;
      this.open--;
    }
  }
  /** The connection, or the channel, is gone: nothing more is known of what was not confirmed. */ abandon(reason) {
    const unsent = this.ready.splice(0);
    const unconfirmed = [...this.unconfirmed];
    this.unconfirmed.clear();
    for (const entry of unconfirmed) this.fail(entry, this.blame(entry, this.channelError ?? reason));
    for (const entry of unsent)
      this.fail(
        entry,
        new BrokerUnavailableError(`event ${entry.message.eventId} was not sent: ${reason.message}`, {
          cause: reason,
        }),
      );
    this.finish();
  }
  timedOut() {
    const alarm = this.settings.connection.blockedBy;
    const reason = new BrokerUnavailableError(
      alarm === undefined
        ? `RabbitMQ has confirmed nothing for ${this.settings.confirmTimeoutMs} ms`
        : `RabbitMQ has taken nothing for ${this.settings.confirmTimeoutMs} ms because of an alarm (${alarm}); free memory or disk on the server`,
    );
    this.abandon(reason);
    this.giveUp(reason);
  }
  /** The broker closes the whole channel because of one message; that one must not be sent again as it is. */ blame(entry, error) {
    const { code, text } = replyOf(error);
    const tooLarge = code === 406 && /message size (\d+)/.exec(text)?.[1] === String(entry.message.payload.length);
    const noExchange = (code === 404 || code === 403) && text.includes(`exchange '${entry.exchange}'`);
    if (tooLarge || noExchange)
      return new MessageRejectedError(`RabbitMQ refuses event ${entry.message.eventId}: ${text}`, {
        cause: error,
      });
    return new BrokerUnavailableError(`RabbitMQ has not confirmed event ${entry.message.eventId}: ${text}`, {
      cause: error,
    });
  }
};

//# sourceMappingURL=rabbitmq.publisher.js.map
