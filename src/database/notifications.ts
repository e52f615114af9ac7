import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { LOGGER, type Logger } from '../observability/logger.js';
import { DATABASE_URL } from './database.js';
import { DatabasePool } from './database-pool.js';

const CHANNEL = 'waybill';
const DEBOUNCE_MS = 10;
const HEARTBEAT_MS = 15_000;
const RECONNECT_MS = 1000;

/**
 * Hints that something is to be done, at once inside the process and within milliseconds in the others. A hint
 * can be lost (NOTIFY is not kept for who is away): whoever listens also looks from time to time.
 */
@Injectable()
export class Notifications implements OnModuleDestroy {
  private readonly listeners = new Map<string, Set<() => void>>();
  private readonly pending = new Set<string>();
  private debounce: NodeJS.Timeout | undefined;
  private client: pg.Client | undefined;
  private reconnect: NodeJS.Timeout | undefined;
  private heartbeat: NodeJS.Timeout | undefined;
  private closed = false;
  private readonly origin = randomUUID();

  constructor(
    @Inject(DATABASE_URL) private readonly url: string,
    private readonly database: DatabasePool,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Calls back on every hint of the subject from here on; answers how to stop. */
  listen(subject: string, callback: () => void): () => void {
    const callbacks = this.listeners.get(subject) ?? new Set();
    callbacks.add(callback);
    this.listeners.set(subject, callbacks);
    if (!this.client && !this.reconnect) this.connect();
    return () => callbacks.delete(callback);
  }

  /** Never inside a transaction: NOTIFY makes commits queue behind one lock. */
  notify(subject: string): void {
    this.callBack(subject);
    if (this.closed) return;
    this.pending.add(subject);
    this.debounce ??= setTimeout(() => this.flush(), DEBOUNCE_MS);
  }

  private flush(): void {
    this.debounce = undefined;
    const subjects = [...this.pending];
    this.pending.clear();
    this.database
      .query("SELECT pg_notify($1, subject || ' ' || $3) FROM unnest($2::text[]) AS subject", [CHANNEL, subjects, this.origin])
      .catch((error: unknown) => this.logger.debug({ err: error }, 'a hint to other instances was lost; they will see by polling'));
  }

  private connect(): void {
    const client = new pg.Client({
      connectionString: this.url,
      application_name: 'waybill-listen',
      keepAlive: true,
      connectionTimeoutMillis: 5000,
      query_timeout: 5000,
    });
    this.client = client;
    const again = (error?: Error): void => {
      if (this.client !== client) return;
      this.client = undefined;
      clearInterval(this.heartbeat);
      client.end().catch(() => undefined); // it is broken already; only its socket is to go
      if (this.closed) return;
      this.logger.debug({ err: error }, 'the listening connection was lost; polling goes on, connecting again');
      this.reconnect = setTimeout(() => {
        this.reconnect = undefined;
        this.connect();
      }, RECONNECT_MS);
    };
    client.on('error', again);
    client.on('end', () => again());
    client.on('notification', ({ payload = '' }) => {
      const [subject = '', origin] = payload.split(' ');
      if (origin !== this.origin) this.callBack(subject); // our own were called back when they were given
    });
    client
      .connect()
      .then(() => client.query(`LISTEN ${CHANNEL}`))
      .then(() => {
        // A half-open socket is silent: ask it now and then.
        this.heartbeat = setInterval(() => void client.query('SELECT 1').catch(again), HEARTBEAT_MS);
        for (const subject of this.listeners.keys()) this.callBack(subject);
      })
      .catch(again);
  }

  private callBack(subject: string): void {
    for (const callback of this.listeners.get(subject) ?? []) callback();
  }

  async onModuleDestroy(): Promise<void> {
    this.closed = true;
    clearTimeout(this.debounce);
    clearTimeout(this.reconnect);
    clearInterval(this.heartbeat);
    const client = this.client;
    this.client = undefined;
    await client?.end();
  }
}
