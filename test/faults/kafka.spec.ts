import { expect } from '@jest/globals';
import kafkajs from 'kafkajs';
import { randomUUID } from 'node:crypto';
import { Metrics } from '../../src/observability/metrics.js';
import { AppProcess } from '../support/app-process.js';
import { serverOf } from '../support/brokers-under-test.js';
import { eventually } from '../support/eventually.js';
import { thing, THING } from '../support/things.js';
import type { Instance, TestHandler } from '../support/world.js';
import { fault } from './fault.js';
import { inWorld, range, recorder, remember } from './in-world.js';
import { killMidHandler, RunningShop } from './running-shop.js';

async function client(): Promise<InstanceType<typeof kafkajs.Kafka>> {
  const brokers = ((await serverOf('kafka')).env['KAFKA_BROKERS'] as string).split(',');
  return new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING, retry: { initialRetryTime: 50, retries: 20 } });
}

/** The Snappy block format without compression: its length, then one literal. */
function snappy(data: Buffer): Buffer {
  const length = data.length < 0x80 ? [data.length] : [(data.length & 0x7f) | 0x80, data.length >> 7];
  const literal = data.length <= 60 ? [(data.length - 1) << 2] : [60 << 2, data.length - 1];
  return Buffer.concat([Buffer.from([...length, ...literal]), data]);
}

const rebuilds = async ({ app }: Instance): Promise<number> =>
  (await app.get(Metrics).consumerRebuilds.get()).values.reduce((total, { value }) => total + value, 0);

fault(
  'K2',
  'a handler that outlasts the session is ended by its time-out and given up, without a rebalance and without going round',
  { slow: true, timeoutMs: 120_000 },
  () =>
    inWorld('kafka', { HANDLER_TIMEOUT_MS: '9000', RETRY_MAX_ATTEMPTS: '2', KAFKA_SESSION_TIMEOUT_MS: '6000' }, async (world) => {
      const seen = new Map<string, number[]>();
      const [slow, good] = [randomUUID(), randomUUID()];
      let begun = 0;
      const by = [0, 0];
      const handler = (at: number): TestHandler =>
        recorder(seen, {
          handle: ({ data }) => {
            by[at] = (by[at] ?? 0) + 1;
            if (data.thingId !== slow) return Promise.resolve(remember(seen, data));
            begun++;
            return new Promise(() => undefined);
          },
        });
      const instances = [await world.start([handler(0)]), await world.start([handler(1)])] as const;
      await eventually(async () => {
        await world.emit(
          instances[0],
          range(20).map((n) => thing(randomUUID(), n)),
        );
        expect(Math.min(...by)).toBeGreaterThan(0); // both are members, and their partitions are settled
      });
      await world.emit(instances[0], [thing(slow, 0), ...range(5).map((n) => thing(good, n))]);
      await eventually(
        async () => expect(await world.deadLetters()).toMatchObject([{ key: slow, attempts: 2, reason: 'attempts_exhausted' }]),
        {
          timeoutMs: 60_000,
        },
      );
      expect(begun).toBe(2); // two attempts of nine seconds each, longer than the session; nobody else was given it meanwhile
      expect(seen.get(good)).toEqual(range(5));
      expect([await rebuilds(instances[0]), await rebuilds(instances[1])]).toEqual([0, 0]);
      await eventually(async () => expect((await instances[0].status.groups()).map(({ lag }) => lag)).toEqual([0]));
    }),
);

fault(
  'K4',
  'a client that died is made anew, readiness says why meanwhile, and it goes on once the cause is gone',
  { timeoutMs: 90_000 },
  () =>
    inWorld('kafka', {}, async (world) => {
      const seen = new Map<string, number[]>();
      const instance = await world.start([recorder(seen)]);
      const kafka = await client();
      const admin = kafka.admin();
      await admin.connect();
      const topic = `${world.namespace}.${THING.topic}`;
      const { CompressionCodecs, CompressionTypes } = kafkajs;
      const none = CompressionCodecs[CompressionTypes.Snappy];
      CompressionCodecs[CompressionTypes.Snappy] = () => ({
        compress: (encoder: { buffer: Buffer }) => Promise.resolve(snappy(encoder.buffer)),
        decompress: () => Promise.reject(new Error('not here')),
      });
      const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
      await producer.connect();
      const sent = await producer.send({ topic, compression: CompressionTypes.Snappy, messages: [{ key: 'a', value: 'b' }] });
      await producer.disconnect();
      CompressionCodecs[CompressionTypes.Snappy] = none;

      await eventually(async () => expect(await rebuilds(instance)).toBeGreaterThanOrEqual(2), { timeoutMs: 30_000 });
      await eventually(() => expect(() => instance.status.assertConsuming()).toThrow(/group one on conformance\.thing is down: .*Snappy/));
      const [record] = sent;
      await admin.fetchTopicOffsets(topic); // the client deletes only of topics that it has asked about
      await admin.deleteTopicRecords({
        topic,
        partitions: [{ partition: record?.partition ?? -1, offset: String(Number(record?.baseOffset) + 1) }],
      });
      await admin.disconnect();
      const key = randomUUID();
      await world.emit(instance, [thing(key, 0)]);
      await eventually(() => expect(seen.get(key)).toEqual([0]), { timeoutMs: 40_000 });
      await eventually(() => instance.status.assertConsuming());
    }),
);

fault('K5', 'a handler that never moves on stops its own key; the other keys and in the end the offset move', { timeoutMs: 90_000 }, () =>
  inWorld('kafka', { HANDLER_TIMEOUT_MS: '5000', RETRY_MAX_ATTEMPTS: '2' }, async (world) => {
    const seen = new Map<string, number[]>();
    const [stuck, good] = [randomUUID(), randomUUID()];
    const lag = async (): Promise<number | null | undefined> => (await instance.status.groups())[0]?.lag;
    const instance = await world.start([
      recorder(seen, {
        handle: ({ data }) => (data.thingId === stuck ? new Promise(() => undefined) : Promise.resolve(remember(seen, data))),
      }),
    ]);
    await world.emit(instance, [thing(stuck, 0), ...range(20).map((n) => thing(good, n))]);
    await eventually(() => expect(seen.get(good)).toEqual(range(20)));
    expect(await lag()).toBeGreaterThan(0); // it is stuck, and the offset with it
    await eventually(async () => expect(await lag()).toBe(0));
    await eventually(async () => expect(await world.deadLetters()).toMatchObject([{ key: stuck, attempts: 2 }]));
    expect(await rebuilds(instance)).toBe(0);
  }),
);

fault('K8', 'what is missing and must not be created stops the start, with its name', { slow: ['rabbitmq', 'sqs'] }, (broker) =>
  RunningShop.with(broker, { BROKER_PROVISION: 'false' }, async (shop) => {
    const app = await AppProcess.launch(shop.env);
    shop.apps.push(app);
    expect(await app.ended()).toBe(1);
    expect(app.output).toContain('the application could not start');
    const namespace = shop.env['BROKER_NAMESPACE'] as string;
    expect(app.output).toMatch(new RegExp(`${namespace}[.-](commerce|inventory)`));
    expect(app.output).toMatch(/BROKER_PROVISION/);
  }),
);

fault(
  'K14',
  'a process that is killed while it handles leaves its messages to another one',
  { slow: ['rabbitmq', 'sqs'], timeoutMs: 120_000 },
  killMidHandler,
);
