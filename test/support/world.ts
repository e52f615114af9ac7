import { Global, Module, type INestApplicationContext, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { ScheduleModule } from '@nestjs/schedule';
import { randomUUID } from 'node:crypto';
import { CONFIG, type BrokerName, type Config, type Role } from '../../src/config/config.js';
import { readConfig } from '../../src/config/read-config.js';
import { Database } from '../../src/database/database.js';
import { DatabaseModule } from '../../src/database/database.module.js';
import type { BatchContext, ConsumeContext, EventEnvelope } from '../../src/messaging/index.js';
import {
  DeadLetters,
  MessagingLifecycle,
  MessagingModule,
  MessagingStatus,
  Outbox,
  serveEventPatterns,
} from '../../src/messaging/index.js';
import { batchHandler, ConsumerRegistry } from '../../src/messaging/consumer/consumer-registry.js';
import { BROKER_ADAPTER } from '../../src/messaging/transport/broker-connection.js';
import type { BrokerAdapter } from '../../src/messaging/transport/broker-adapter.js';
import { createLogger } from '../../src/observability/create-logger.js';
import { LOGGER } from '../../src/observability/logger.js';
import { Metrics } from '../../src/observability/metrics.js';
import { serverOf } from './brokers-under-test.js';
import { freshDatabase, type FreshDatabase } from './fresh-database.js';
import { THING, type ThingHappened } from './things.js';

export interface TestHandler {
  readonly group: string;
  readonly topic?: string;
  readonly type?: string;
  readonly order?: 'key' | 'none';
  readonly timeoutMs?: number;
  readonly handle: (event: EventEnvelope<ThingHappened>, context: ConsumeContext) => Promise<void>;
  readonly commit?: 'single' | 'grouped';
  /** Takes the place of `handle`. */
  readonly handleBatch?: (events: readonly EventEnvelope<ThingHappened>[], context: BatchContext) => Promise<void>;
}

export interface Instance {
  readonly app: INestApplicationContext;
  readonly database: Database;
  readonly outbox: Outbox;
  readonly deadLetters: DeadLetters;
  readonly status: MessagingStatus;
  readonly adapter: BrokerAdapter;
  /** Like a SIGTERM; true when nothing was left to a lease. */
  stop(deadlineMs?: number): Promise<boolean>;
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly roles?: readonly Role[];
  /** Whose @EventPattern handlers consume too, as `src/boot.ts` has it. */
  readonly controllers?: readonly Type[];
}

/** A database and a namespace at a broker of one test's own, and the instances that share them. */
export class World {
  private readonly instances = new Set<Instance>();

  private constructor(
    readonly broker: BrokerName,
    readonly database: FreshDatabase,
    private readonly env: Readonly<Record<string, string>>,
  ) {}

  /** The prefix of what it has at the broker. */
  get namespace(): string {
    return this.env['BROKER_NAMESPACE'] as string;
  }

  static async create(broker: BrokerName, env: Readonly<Record<string, string>> = {}, serverUrl?: string): Promise<World> {
    const database = await freshDatabase(serverUrl);
    const server = broker === 'postgres' ? {} : (await serverOf(broker)).env;
    for (const [name, value] of Object.entries(server)) if (name.startsWith('AWS_')) process.env[name] = value; // read by the SDK itself
    return new World(broker, database, {
      ...server,
      BROKER: broker,
      BROKER_NAMESPACE: `t${randomUUID().slice(0, 8)}`,
      DATABASE_URL: database.url,
      LOG_LEVEL: process.env['TEST_LOG_LEVEL'] ?? 'silent',
      RETRY_BASE_DELAY_MS: '20',
      RETRY_MAX_DELAY_MS: '200',
      RETRY_MAX_ATTEMPTS: '3',
      OUTBOX_POLL_INTERVAL_MS: '250',
      OUTBOX_LEASE_MS: '4000',
      KAFKA_SESSION_TIMEOUT_MS: '6000',
      ...env,
    });
  }

  /** An instance that consumes with these handlers. */
  async start(handlers: readonly TestHandler[], options: StartOptions = {}): Promise<Instance> {
    const config = {
      ...readConfig({ ...this.env, ...options.env }),
      ...(options.roles && { roles: new Set(options.roles) }),
    } satisfies Config;
    const logger = createLogger(config);
    @Global()
    @Module({
      providers: [{ provide: CONFIG, useValue: config }, { provide: LOGGER, useValue: logger }, Metrics],
      exports: [CONFIG, LOGGER, Metrics],
    })
    class Foundations {}
    @Module({
      imports: [Foundations, ScheduleModule.forRoot(), DatabaseModule.forUrl(this.database.url), MessagingModule],
      controllers: [...(options.controllers ?? [])],
    })
    class InstanceModule {}
    const app = await NestFactory.create(InstanceModule, new FastifyAdapter(), { logger: false, abortOnError: false });
    const registry = app.get(ConsumerRegistry);
    for (const [index, handler] of handlers.entries()) {
      registry.add({
        name: `Handler${index}`,
        group: handler.group,
        topic: handler.topic ?? THING.topic,
        type: handler.type ?? THING.type,
        order: handler.order ?? 'key',
        timeoutMs: handler.timeoutMs,
        commit: handler.commit,
        ...(handler.handleBatch ? batchHandler(handler.handleBatch as never) : { handle: handler.handle as never }),
      });
    }
    serveEventPatterns(app);
    const lifecycle = app.get(MessagingLifecycle);
    try {
      await app.startAllMicroservices();
      await app.init();
      await lifecycle.start();
    } catch (error) {
      await app.close();
      throw error;
    }
    let stopping: Promise<boolean> | undefined;
    const instance: Instance = {
      app,
      database: app.get(Database),
      outbox: app.get(Outbox),
      deadLetters: app.get(DeadLetters),
      status: app.get(MessagingStatus),
      adapter: app.get<BrokerAdapter>(BROKER_ADAPTER, { strict: false }),
      stop: (deadlineMs = 10_000) => {
        this.instances.delete(instance);
        stopping ??= (async () => {
          try {
            return await lifecycle.stop(deadlineMs);
          } finally {
            await app.close();
          }
        })();
        return stopping;
      },
    };
    this.instances.add(instance);
    return instance;
  }

  /** Commits these events, each in a transaction of its own unless `together`. */
  async emit(instance: Instance, events: readonly object[], together = false): Promise<void> {
    if (together)
      await instance.database.transaction((tx) => {
        for (const event of events) instance.outbox.emit(tx, event);
        return Promise.resolve();
      });
    else for (const event of events) await instance.database.transaction((tx) => Promise.resolve(instance.outbox.emit(tx, event)));
  }

  async deadLetters(): Promise<
    {
      id: string;
      group: string;
      key: string;
      attempts: number;
      state: string;
      payload: Buffer;
      headers: Record<string, string>;
      reason: string;
      event_id: string;
    }[]
  > {
    const rows = await this.database.query<{ headers: string } & Record<string, never>>(
      'SELECT *, group_name AS "group" FROM dead_letter ORDER BY seq',
    );
    return rows.map((row) => ({ ...row, headers: JSON.parse(row.headers) as Record<string, string> })) as never;
  }

  async count(table: string): Promise<number> {
    const [row] = await this.database.query<{ count: number }>(`SELECT count(*)::int AS count FROM ${table}`);
    return row?.count ?? -1;
  }

  async destroy(): Promise<void> {
    await Promise.all([...this.instances].map((instance) => instance.stop()));
    await this.database.drop();
  }
}
