import amqp from 'amqplib';
import type { Channel, ChannelModel, ConfirmChannel } from 'amqplib';
import type { Duplex } from 'node:stream';
import { BrokerUnavailableError } from '../broker-adapter.js';
import type { RabbitmqSettings } from './rabbitmq.settings.js';
import { within } from '../within.js';
import { writeTogether } from './write-together.js';

const CONNECT_TIMEOUT_MS = 4_000;
const CLOSE_TIMEOUT_MS = 3_000;
/** A queue without a leader answers nothing, for as long as it has none. */
const ANSWER_TIMEOUT_MS = 30_000;
const LINGER_MS = 1_000;

/**
 * One connection to the broker, made when it is first needed and made anew after it was lost. Whoever
 * holds a channel learns of the loss by the channel's own `close`.
 */
export class RabbitmqConnection {
  private opening: Promise<ChannelModel> | undefined;
  private model: ChannelModel | undefined;
  private lastError: Error | undefined;
  private ended = false;
  /** Why the broker takes no messages from this connection at the moment: an alarm of memory or disk. */
  private alarm: string | undefined;

  constructor(
    private readonly settings: RabbitmqSettings,
    private readonly purpose: 'publish' | 'consume',
  ) {}

  /** The alarm because of which the broker does not read from this connection, if there is one. */
  get blockedBy(): string | undefined {
    return this.alarm;
  }

  /** Why the connection was lost last. */
  get lossReason(): Error | undefined {
    return this.lastError;
  }

  async channel(): Promise<Channel> {
    return this.guard(await this.whenOpen((model) => model.createChannel()));
  }

  async confirmChannel(): Promise<ConfirmChannel> {
    return this.guard(await this.whenOpen((model) => model.createConfirmChannel()));
  }

  /** Runs `work` on a channel of its own, in bounded time: the broker closes a channel for many a question it answers with no. */
  async onChannel<T>(work: (channel: Channel) => Promise<T>): Promise<T> {
    const channel = await this.channel();
    try {
      return await answered(work(channel));
    } finally {
      await closeChannel(channel);
    }
  }

  /** Gives the connection up without the broker's consent: nothing that it still says will be heard. */
  drop(reason: Error): void {
    const { model } = this;
    if (!model) return;
    this.lost(model, reason);
    destroySocket(model, reason);
  }

  /** Ends in bounded time, whether the broker listens or not. */
  async close(): Promise<void> {
    this.ended = true;
    const model = this.model ?? (await this.opening?.catch(() => undefined)); // a connection that failed to open needs no closing
    if (!model) return;
    try {
      await within(CLOSE_TIMEOUT_MS, 'RabbitMQ did not answer the end of the connection', model.close());
    } catch (error) {
      this.settings.logger.debug({ err: error }, 'the connection to RabbitMQ ended without a farewell');
    }
    destroySocket(model, new Error('closed'));
  }

  private async whenOpen<T>(use: (model: ChannelModel) => Promise<T>): Promise<T> {
    if (this.ended) throw new BrokerUnavailableError('the connection to RabbitMQ was closed for good');
    const model = await (this.opening ??= this.connect());
    try {
      return await use(model);
    } catch (error) {
      throw unavailable('the connection to RabbitMQ was lost', this.lastError ?? (error as Error));
    }
  }

  private async connect(): Promise<ChannelModel> {
    const { rabbitmq, instance, logger } = this.settings;
    let attempt: Promise<ChannelModel> | undefined;
    let model: ChannelModel;
    try {
      attempt = amqp.connect(address(rabbitmq.url, rabbitmq.heartbeatSeconds), {
        timeout: CONNECT_TIMEOUT_MS,
        noDelay: true,
        keepAlive: true,
        clientProperties: { connection_name: `waybill ${this.purpose} ${instance}` },
        rejectUnauthorized: true,
        ...(rabbitmq.ca !== undefined && { ca: [rabbitmq.ca] }),
      });
      model = await within(CONNECT_TIMEOUT_MS + 500, 'no answer', attempt);
    } catch (error) {
      this.opening = undefined;
      attempt?.then((late) => destroySocket(late, error as Error)).catch(() => undefined); // its failure is being reported here
      throw unavailable('RabbitMQ cannot be reached', error as Error, hintFor(error as Error, rabbitmq.url));
    }
    this.lastError = undefined;
    this.model = model;
    writeTogether(socketOf(model));
    model.on('error', (error) => (this.lastError = error));
    model.on('close', (error?: Error) => this.lost(model, error));
    model.on('blocked', (reason) => {
      this.alarm = reason;
      logger.warn({ reason }, 'RabbitMQ takes no messages: an alarm is on; events wait in the outbox');
    });
    model.on('unblocked', () => {
      this.alarm = undefined;
      logger.info('RabbitMQ takes messages again');
    });
    logger.debug({ purpose: this.purpose }, 'connected to RabbitMQ');
    return model;
  }

  private lost(model: ChannelModel, error: Error | undefined): void {
    if (this.model !== model) return;
    if (error) this.lastError ??= error;
    this.alarm = undefined;
    this.model = undefined;
    this.opening = undefined;
    if (error) this.settings.logger.warn({ purpose: this.purpose, err: error }, 'the connection to RabbitMQ was lost');
    // amqplib only half-closes the socket, which a dead peer never answers.
    setTimeout(() => destroySocket(model, new Error('closed')), LINGER_MS).unref();
  }

  /** A channel without a listener for `error` would end the process; what matters is said by its `close`. */
  private guard<C extends Channel>(channel: C): C {
    channel.on('error', (error) => this.settings.logger.debug({ purpose: this.purpose, err: error }, 'RabbitMQ closed a channel'));
    return channel;
  }
}

/** What the broker answers to a request about a queue, in bounded time. */
export function answered<T>(request: Promise<T>): Promise<T> {
  return within(ANSWER_TIMEOUT_MS, 'RabbitMQ did not answer; a queue may be without a leader', request);
}

/** Closes a channel that may be closed already; ends in bounded time. */
export async function closeChannel(channel: Channel): Promise<void> {
  // amqplib never answers a `close` during which the connection is lost; the channel's own event always comes.
  const gone = new Promise<void>((resolve) => channel.once('close', resolve));
  // It fails only when the channel, or the server, is gone already.
  await within(CLOSE_TIMEOUT_MS, 'RabbitMQ did not answer the end of a channel', Promise.race([channel.close(), gone])).catch(
    () => undefined,
  );
}

/** The text and number that the broker closed a channel with. */
export function replyOf(error: unknown): { code: number | undefined; text: string } {
  const { code, message } = error as Error & { code?: unknown };
  return { code: typeof code === 'number' ? code : undefined, text: message };
}

/** An outage as the port reports it; the cause's message never holds the address. */
export function unavailable(what: string, cause: Error, cure = ''): BrokerUnavailableError {
  if (cause instanceof BrokerUnavailableError) return cause;
  return new BrokerUnavailableError(`${what}: ${cause.message.trim()}${cure}`, { cause });
}

function address(url: string, heartbeatSeconds: number): string {
  const parsed = URL.parse(url);
  // The text itself may hold the password.
  if (!parsed) throw new BrokerUnavailableError('RABBITMQ_URL is not a URL; it should look like amqp://user:password@host:5672');
  parsed.searchParams.set('heartbeat', String(heartbeatSeconds));
  return parsed.href;
}

function hintFor(error: Error, url: string): string {
  const text = `${error.message} ${(error as NodeJS.ErrnoException).code ?? ''}`;
  if (/ACCESS[-_]REFUSED|\b403\b/.test(text)) return '; check user and password in RABBITMQ_URL';
  if (/ConnectionClose/.test(text)) return '; check that the virtual host in RABBITMQ_URL exists and that its user may use it';
  if (/wrong version number|EPROTO/i.test(text))
    return '; it does not speak TLS there: RABBITMQ_URL should begin with amqp://, or name the TLS port';
  if (/certificate|self-signed|issuer/i.test(text))
    return '; name the certificate authority in RABBITMQ_CA_FILE; checking is never switched off';
  if (/closed abruptly|ECONNRESET/.test(text) && url.startsWith('amqp:'))
    return '; if it expects TLS there, RABBITMQ_URL must begin with amqps://';
  return '';
}

function destroySocket(model: ChannelModel, reason: Error): void {
  const socket = socketOf(model);
  if (!socket.destroyed) socket.destroy(reason);
}

/** amqplib's types do not show it, and its API has no way to let go of a peer that does not answer. */
function socketOf(model: ChannelModel): Duplex {
  return (model.connection as unknown as { stream: Duplex }).stream;
}
