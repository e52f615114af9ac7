import type { Admin } from 'kafkajs';
import { KafkaClient } from './kafka.client.js';
import { protocolTypeOf, unavailable } from './kafka.errors.js';
import type { KafkaSettings } from './kafka.settings.js';
import { within } from '../within.js';

const CLOSE_TIMEOUT_MS = 2_000;

interface Connected {
  readonly client: KafkaClient;
  readonly admin: Admin;
  readonly ready: Promise<void>;
}

/** The one connection by which the adapter asks the cluster; it is made when needed, and made anew after a failure. */
export class KafkaAdmin {
  private connected: Connected | undefined;

  constructor(private readonly settings: KafkaSettings) {}

  /**
   * The answer to `question`, in bounded time.
   * @throws BrokerUnavailableError saying `what` failed; an error that the broker itself answered is its cause
   */
  async ask<T>(what: string, milliseconds: number, question: (admin: Admin) => Promise<T>): Promise<T> {
    const connected = this.connect();
    try {
      return await within(
        milliseconds,
        `${what}: Kafka did not answer`,
        connected.ready.then(() => question(connected.admin)),
      );
    } catch (error) {
      const failure = unavailable(what, error, this.settings.kafka);
      if (protocolTypeOf(error) === undefined) this.discard(connected, failure);
      throw failure;
    }
  }

  /** Ends in bounded time, whether the broker listens or not. */
  async close(): Promise<void> {
    const { connected } = this;
    this.connected = undefined;
    if (!connected) return;
    try {
      await within(CLOSE_TIMEOUT_MS, 'Kafka did not let the admin client go', connected.admin.disconnect());
    } catch (error) {
      this.settings.logger.debug({ err: error }, 'the admin connection to Kafka ended without a farewell');
    }
    connected.client.destroy(new Error('closed'));
  }

  private connect(): Connected {
    if (this.connected) return this.connected;
    const client = new KafkaClient(this.settings);
    const admin = client.kafka.admin();
    const ready = admin.connect();
    ready.catch(() => undefined); // each question awaits it and reports
    this.connected = { client, admin, ready };
    return this.connected;
  }

  private discard(connected: Connected, reason: Error): void {
    if (this.connected === connected) this.connected = undefined;
    connected.client.destroy(reason);
  }
}
