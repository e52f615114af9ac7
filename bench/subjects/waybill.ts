import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ScheduleModule } from '@nestjs/schedule';
import { Database, type Transaction } from '../../src/database/database.js';
import { DatabaseModule } from '../../src/database/database.module.js';
import { GroupedTransactions } from '../../src/database/grouped-transactions.js';
import {
  MessagingLifecycle,
  MessagingModule,
  Outbox,
  withCausation,
  type ConsumeContext,
  type EventEnvelope,
} from '../../src/messaging/index.js';
import { batchHandler, ConsumerRegistry } from '../../src/messaging/consumer/consumer-registry.js';
import { brokers } from '../../src/messaging/transport/brokers.js';
import type { BrokerAdapter } from '../../src/messaging/transport/broker-adapter.js';
import { countAllHandled, countHandled, ThingHappened, THING_TOPIC, THING_TYPE } from '../lib/effect.js';
import { config, Foundations } from '../lib/foundations.js';
import { heapAfterCollection, LatencyProbe, serve } from '../lib/subject-process.js';
import { NullBroker } from './null-broker.js';
import { randomUUID } from 'node:crypto';

/** Messaging as the application runs it, with the consumers of the benchmarks in place of the shop's. */
const groups = (process.env['BENCH_GROUPS'] ?? '').split(',').filter(Boolean);
/** How the groups commit: `single`, `grouped`, or `batch`. */
const mode = process.env['BENCH_MODE'] ?? 'single';
/** A handler that waits so long for something else before it commits. */
const handlerMs = Number(process.env['BENCH_HANDLER_MS'] ?? 0);
const nullBroker = new NullBroker();
if (process.env['BENCH_NULL_BROKER']) brokers.postgres = (): Promise<BrokerAdapter> => Promise.resolve(nullBroker);

@Module({ imports: [Foundations, ScheduleModule.forRoot(), DatabaseModule.forUrl(config.database.url ?? ''), MessagingModule] })
class Subject {}

const app = await NestFactory.createApplicationContext(Subject, { logger: ['error'], abortOnError: false });
const database = app.get(Database);
const outbox = app.get(Outbox);
const lifecycle = app.get(MessagingLifecycle);
const probe = new LatencyProbe();

for (const group of groups) {
  const shared = { name: `Count${group}`, group, topic: THING_TOPIC, type: THING_TYPE, order: 'key', timeoutMs: undefined } as const;
  const batch = batchHandler(async (events, context) => {
    await context.once((tx) =>
      countAllHandled(
        tx,
        group,
        events.map(({ data }) => data as ThingHappened),
      ),
    );
    for (const { correlationid } of events) probe.onHandled(correlationid);
  });
  const handle = async (event: EventEnvelope, context: ConsumeContext): Promise<void> => {
    const { thingId, n } = event.data as ThingHappened;
    if (handlerMs > 0) await new Promise((resolve) => setTimeout(resolve, handlerMs));
    await context.once((tx) => countHandled(tx, group, thingId, n));
    probe.onHandled(event.correlationid);
  };
  app.get(ConsumerRegistry).add({
    ...shared,
    commit: mode === 'grouped' ? 'grouped' : 'single',
    ...(mode === 'batch' ? batch : { handle }),
  });
}
await lifecycle.start();

/** Runs the work so often, so many at a time; answers how many a second. */
async function rateOf(count: number, atOnce: number, work: (index: number) => Promise<unknown>): Promise<number> {
  const start = performance.now();
  let next = 0;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (next < count) await work(next++);
    }),
  );
  return (count / (performance.now() - start)) * 1000;
}

const grouped = new GroupedTransactions(database);
const insertOrder = (tx: Transaction, id: string): Promise<number> =>
  tx.$executeRaw`
    WITH placed AS (INSERT INTO orders (id, customer_id, status, total, currency) VALUES (${id}::uuid, ${id}::uuid, 'pending', 1890, 'EUR') RETURNING id)
    INSERT INTO order_item (order_id, position, sku, quantity, unit_price) SELECT id, 1, 'coffee-1kg', 1, 1890 FROM placed`;

serve(
  {
    /** Events one after the other at a steady rate, each in a transaction of its own. */
    latency: ({ rate, count, keys }: { rate: number; count: number; keys: readonly string[] }) =>
      probe.run(rate, count, async (index) => {
        const thingId = keys[index % keys.length] as string;
        const event = Object.assign(new ThingHappened(), { thingId, n: Math.floor(index / keys.length) + 1, text: '' });
        const id = randomUUID();
        await database.transaction((tx) => withCausation({ correlationid: id }, () => Promise.resolve(outbox.emit(tx, event))));
        return id;
      }),
    /** Transactions a second that insert an order, alone and with an event; by themselves or in groups. */
    insert: ({ count, atOnce, withEvent, inGroups }: { count: number; atOnce: number; withEvent: boolean; inGroups: boolean }) =>
      rateOf(count, atOnce, () => {
        const place = async (tx: Transaction): Promise<void> => {
          const id = randomUUID();
          await insertOrder(tx, id);
          if (withEvent) outbox.emit(tx, Object.assign(new ThingHappened(), { thingId: id, n: 1, text: 'x'.repeat(200) }));
        };
        return inGroups ? grouped.run(place) : database.transaction(place);
      }),
    /** What the null broker was given: how many, and how many of them out of their turn. */
    published: () => Promise.resolve(nullBroker.counts),
    /** Bytes of what is in use. */
    heap: () => Promise.resolve(heapAfterCollection()),
  },
  async () => {
    await lifecycle.stop(5000);
    await app.close();
  },
);
