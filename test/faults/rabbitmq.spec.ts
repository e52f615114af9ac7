import { expect } from '@jest/globals';
import amqp from 'amqplib';
import { randomUUID } from 'node:crypto';
import { startServer } from '../../scripts/servers/index.mjs';
import { bucketOf } from '../../src/messaging/event/key-hash.js';
import { Metrics } from '../../src/observability/metrics.js';
import { serverOf } from '../support/brokers-under-test.js';
import { eventually } from '../support/eventually.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { thing, THING } from '../support/things.js';
import { fault } from './fault.js';
import { inWorld, range, recorder, remember } from './in-world.js';

const QUEUES = 8;

const urlOf = async (): Promise<string> => (await serverOf('rabbitmq')).env['RABBITMQ_URL'] as string;

/** Asks the server itself, past the application. */
async function raw<T>(work: (channel: amqp.Channel) => Promise<T>): Promise<T> {
  const connection = await amqp.connect(await urlOf());
  try {
    return await work(await connection.createChannel());
  } finally {
    await connection.close();
  }
}

async function withProxy(work: (proxy: TcpProxy, url: string) => Promise<void>): Promise<void> {
  const url = await urlOf();
  const proxy = await TcpProxy.start({ port: Number(new URL(url).port) });
  try {
    await work(proxy, proxy.through(url));
  } finally {
    await proxy.end();
  }
}

fault(
  'R1',
  'connections that are reset while publishes wait for their confirms lose nothing and reorder nothing',
  { timeoutMs: 90_000 },
  () =>
    withProxy((proxy, url) =>
      inWorld('rabbitmq', { RABBITMQ_URL: url, RABBITMQ_CONFIRM_TIMEOUT_MS: '2000' }, async (world) => {
        const seen = new Map<string, number[]>();
        const instance = await world.start([recorder(seen)]);
        const keys = range(10).map(() => randomUUID());
        const emit = (n: number): Promise<void> =>
          world.emit(
            instance,
            keys.map((key) => thing(key, n)),
            true,
          );
        for (const round of range(3)) {
          await emit(round * 10);
          await proxy.set('blackhole'); // what is sent from here on gets no confirm
          const held = proxy.counts.bytesHeld;
          for (const n of range(9)) await emit(round * 10 + 1 + n);
          await eventually(() => expect(proxy.counts.bytesHeld).toBeGreaterThan(held));
          const { broken } = proxy.counts;
          await proxy.set('reset');
          expect(proxy.counts.broken).toBeGreaterThan(broken);
          await proxy.set('ok');
          await eventually(() => expect([...seen.values()].flat()).toHaveLength((round + 1) * 100), { timeoutMs: 30_000 });
        }
        for (const key of keys) expect(seen.get(key)).toEqual(range(30));
        const { values } = await instance.app.get(Metrics).publishFailures.get();
        expect(values.find(({ labels }) => labels.kind === 'transport')?.value).toBeGreaterThan(0);
        expect(values.some(({ labels }) => labels.kind === 'message')).toBe(false);
        await eventually(async () => expect(await world.count('outbox')).toBe(0)); // an event may be here before its proof is
        expect([await world.count('outbox_held_key'), await world.count('dead_letter')]).toEqual([0, 0]);
      }),
    ),
);

fault(
  'R4',
  'an event that no queue is bound for stays in the outbox, with its key and an alarm, and goes once there is a binding',
  {},
  () =>
    inWorld('rabbitmq', {}, async (world) => {
      const seen = new Map<string, number[]>();
      const instance = await world.start([recorder(seen)]);
      const lost = randomUUID();
      const bucket = bucketOf(lost, QUEUES);
      const other = range(100)
        .map(() => randomUUID())
        .find((key) => bucketOf(key, QUEUES) !== bucket) as string;
      const names = await raw(async (channel) => {
        const exchange = `${world.namespace}.${THING.topic}`;
        const queue = `${world.namespace}.one.${THING.topic}.${bucket}`;
        // A group that subscribes sees to its bindings first: once it consumes, none comes back.
        await eventually(async () => expect((await channel.checkQueue(queue)).consumerCount).toBe(1));
        await channel.unbindQueue(queue, exchange, `${bucket}.#`);
        return { exchange, queue };
      });
      await world.emit(instance, [thing(lost, 0), thing(lost, 1), thing(other, 0)]);
      await eventually(() => expect(seen.get(other)).toEqual([0]));
      await eventually(async () => expect((await instance.status.outbox()).blockedKeys).toBe(1));
      expect(await world.database.query('SELECT key, reason FROM outbox_held_key')).toMatchObject([
        { key: lost, reason: expect.stringContaining('no queue is bound') },
      ]);
      await eventually(async () => expect(await world.count('outbox')).toBe(2)); // the other one's row goes after its proof
      expect(seen.get(lost)).toBeUndefined();
      await raw((channel) => channel.bindQueue(names.queue, names.exchange, `${bucket}.#`));
      await eventually(() => expect(seen.get(lost)).toEqual([0, 1]));
      await eventually(async () => expect((await instance.status.outbox()).blockedKeys).toBe(0));
    }),
);

fault('R10', 'a server that reads slowly makes the relay wait, not the memory grow', { slow: true, timeoutMs: 180_000 }, () =>
  withProxy((proxy, url) =>
    inWorld('rabbitmq', { RABBITMQ_URL: url, RABBITMQ_CONFIRM_TIMEOUT_MS: '30000' }, async (world) => {
      const seen = new Map<string, number[]>();
      const instance = await world.start([recorder(seen)]);
      const keys = range(50).map(() => randomUUID());
      proxy.bytesPerSecond = 500_000;
      await proxy.set('slow');
      const text = 'x'.repeat(2000);
      const before = process.memoryUsage().rss;
      let peak = before;
      const sample = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 100);
      for (const n of range(60))
        await world.emit(
          instance,
          keys.map((key) => thing(key, n, text)),
          true,
        );
      await eventually(() => expect([...seen.values()].flat()).toHaveLength(3000), { timeoutMs: 120_000, everyMs: 200 });
      clearInterval(sample);
      expect(proxy.counts.bytesDelayed).toBeGreaterThan(6_000_000);
      expect((peak - before) / 1024 / 1024).toBeLessThan(200);
      for (const key of keys) expect(seen.get(key)).toEqual(range(60));
    }),
  ),
);

fault(
  'R7',
  "the server's consumer time-out closes the channel; it is opened again and the event comes back",
  { long: true, timeoutMs: 420_000 },
  async () => {
    const server = await startServer('rabbitmq');
    try {
      await server.ctl('eval', 'application:set_env(rabbit, consumer_timeout, 60000).');
      await inWorld('rabbitmq', { ...server.env, HANDLER_TIMEOUT_MS: '400000' }, async (world) => {
        const seen = new Map<string, number[]>();
        const attempts: number[] = [];
        const aborted: string[] = [];
        const key = randomUUID();
        const instance = await world.start([
          recorder(seen, {
            handle: async ({ data }, { attempt, once, signal }) => {
              attempts.push(attempt);
              if (attempts.length === 1)
                await new Promise((_, reject) =>
                  signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }),
                ).catch((error: Error) => {
                  aborted.push(error.message);
                  throw error;
                });
              await once(async () => remember(seen, data));
            },
          }),
        ]);
        await world.emit(instance, [thing(key, 0)]);
        await eventually(() => expect(aborted).toHaveLength(1), { timeoutMs: 300_000, everyMs: 500 });
        await eventually(() => expect(seen.get(key)).toEqual([0]), { timeoutMs: 60_000 });
        expect(attempts).toEqual([1, 1]); // the server's impatience is no failure of the event
        const { values } = await instance.app.get(Metrics).consumerRebuilds.get();
        expect(values.reduce((total, { value }) => total + value, 0)).toBeGreaterThanOrEqual(1);
        expect(await world.deadLetters()).toEqual([]);
      });
    } finally {
      await server.dispose();
    }
  },
);
