import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import amqp from 'amqplib';
import { randomUUID } from 'node:crypto';
import net from 'node:net';
import { pino } from 'pino';
import { availability, startServer, useOrStart } from '../../scripts/servers/index.mjs';
import type { RabbitServer, Server } from '../../scripts/servers/index.mjs';
import { bucketOf } from '../../src/messaging/event/key-hash.js';
import {
  BrokerUnavailableError,
  MessageRejectedError,
  TopologyMismatchError,
  type ActiveSubscription,
  type Deliver,
  type IncomingMessage,
  type OutgoingMessage,
  type Settlement,
  type Topology,
} from '../../src/messaging/transport/broker-adapter.js';
import { RabbitmqAdapter } from '../../src/messaging/transport/rabbitmq/rabbitmq.adapter.js';
import { PREFETCH } from '../../src/messaging/transport/rabbitmq/rabbitmq.settings.js';
import { eventually } from '../support/eventually.js';

jest.setTimeout(120_000);

const TOPIC = 'shop.order';
const GROUP = 'inventory';
const SUBSCRIPTION = { group: GROUP, topic: TOPIC };
const TOPOLOGY: Topology = {
  topics: [TOPIC, 'shop.unread'],
  subscriptions: [SUBSCRIPTION],
  deadLetterTopics: [`${TOPIC}.DLT`],
};

const { available, reason } = await availability('rabbitmq');
if (!available) console.warn(`RabbitMQ adapter: skipped, ${reason ?? 'no server'}`);

(available ? describe : describe.skip)('RabbitMQ adapter', () => {
  let server: Server;
  let url: string;
  const opened: RabbitmqAdapter[] = [];
  const proxies: Proxy[] = [];

  beforeAll(async () => {
    server = await useOrStart('rabbitmq');
    url = server.env['RABBITMQ_URL'] as string;
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((adapter) => adapter.close()));
    await Promise.all(proxies.splice(0).map((proxy) => proxy.end()));
  });
  afterAll(() => server?.dispose());

  interface AdapterOptions {
    at?: string;
    provision?: boolean;
    queuesPerGroup?: number;
    deliveryLimit?: number;
    confirmTimeoutMs?: number;
    heartbeatSeconds?: number;
    log?: (line: string) => void;
  }

  function adapter(namespace: string, options: AdapterOptions = {}): RabbitmqAdapter {
    const made = new RabbitmqAdapter({
      rabbitmq: {
        url: options.at ?? url,
        queuesPerGroup: options.queuesPerGroup ?? 4,
        deliveryLimit: options.deliveryLimit ?? 20,
        confirmTimeoutMs: options.confirmTimeoutMs ?? 5_000,
        heartbeatSeconds: options.heartbeatSeconds ?? 10,
        ca: undefined,
      },
      namespace,
      provision: options.provision ?? true,
      instance: `test-${process.pid}`,
      logger: options.log ? pino({ level: 'trace' }, { write: options.log }) : pino({ level: 'silent' }),
    });
    opened.push(made);
    return made;
  }

  async function ready(options: AdapterOptions = {}, namespace = fresh()): Promise<{ broker: RabbitmqAdapter; namespace: string }> {
    const broker = adapter(namespace, options);
    await broker.open(TOPOLOGY);
    return { broker, namespace };
  }

  async function proxy(): Promise<Proxy> {
    const made = await Proxy.start(Number(new URL(url).port));
    proxies.push(made);
    return made;
  }

  const through = (made: Proxy): string => url.replace(/:\d+$/, `:${made.port}`);

  /** Asks the server itself, past the adapter. */
  async function raw<T>(work: (channel: amqp.Channel) => Promise<T>, at = url): Promise<T> {
    const connection = await amqp.connect(at);
    connection.on('error', () => undefined);
    const channel = await connection.createChannel();
    channel.on('error', () => undefined);
    try {
      return await work(channel);
    } finally {
      await connection.close();
    }
  }

  const waiting = (queue: string): Promise<number> => raw(async (channel) => (await channel.checkQueue(queue)).messageCount);

  describe('topology', () => {
    it('is made by several instances at once, and again, without harm', async () => {
      const namespace = fresh();
      const instances = [adapter(namespace), adapter(namespace), adapter(namespace)];
      await Promise.all(instances.map((instance) => instance.open(TOPOLOGY)));
      await instances[0]?.open(TOPOLOGY);
      const strict = adapter(namespace, { provision: false });
      await strict.open(TOPOLOGY);
      expect(await strict.publish([message('a')])).toEqual([undefined]);
      expect(await waiting(`${namespace}.${GROUP}.${TOPIC}.${bucketOf('a', 4)}`)).toBe(1);
    });

    it('★R3 names the queue, the argument, both values and the cure when a queue has other arguments', async () => {
      const { namespace } = await ready({ deliveryLimit: 5 });
      const error = await rejection(adapter(namespace, { deliveryLimit: 7 }).open(TOPOLOGY));
      expect(error).toBeInstanceOf(TopologyMismatchError);
      expect(error.message).toContain(`queue "${namespace}.${GROUP}.${TOPIC}.3"`);
      expect(error.message).toMatch(/x-delivery-limit is .*10.*, the configuration wants .*14/);
      expect(error.message).toContain('delete it by hand');
      expect(await waiting(`${namespace}.${GROUP}.${TOPIC}.3`)).toBe(0);
    });

    it('says what is missing when it must not create it', async () => {
      const error = await rejection(adapter(fresh(), { provision: false }).open(TOPOLOGY));
      expect(error).toBeInstanceOf(TopologyMismatchError);
      expect(error.message).toMatch(/exchange ".*shop\.order" is missing.*BROKER_PROVISION/);
    });

    it.each([
      ['more', 8],
      ['fewer', 2],
    ])('refuses %s queues per group while messages are in the old ones', async (_, queuesPerGroup) => {
      const { broker, namespace } = await ready();
      await broker.publish([message('a')]);
      const error = await rejection(adapter(namespace, { queuesPerGroup }).open(TOPOLOGY));
      expect(error).toBeInstanceOf(TopologyMismatchError);
      expect(error.message).toMatch(new RegExp(`has 4 queues on topic "shop.order", the configuration says ${queuesPerGroup}`));
      await raw((channel) => channel.purgeQueue(`${namespace}.${GROUP}.${TOPIC}.${bucketOf('a', 4)}`));
      await adapter(namespace, { queuesPerGroup }).open(TOPOLOGY);
    });

    it('refuses two groups that would share a queue', async () => {
      const shared: Topology = {
        topics: ['c', 'b.c'],
        subscriptions: [
          { group: 'a.b', topic: 'c' },
          { group: 'a', topic: 'b.c' },
        ],
        deadLetterTopics: [],
      };
      expect(await rejection(adapter(fresh()).open(shared))).toBeInstanceOf(TopologyMismatchError);
    });

    it('★H11 shows no password when it is wrong', async () => {
      const lines: string[] = [];
      const at = url.replace(/\/\/.*@/, '//guest:hunter2canary@');
      const error = await rejection(adapter(fresh(), { at, log: (line) => lines.push(line) }).open(TOPOLOGY));
      expect(error).toBeInstanceOf(BrokerUnavailableError);
      expect(error.message).toContain('check user and password');
      expect(lines.join('') + error.stack + JSON.stringify(error)).not.toContain('hunter2canary');
    });

    it('names the virtual host when there is none of that name', async () => {
      const error = await rejection(adapter(fresh(), { at: `${url}/nowhere` }).open(TOPOLOGY));
      expect(error).toBeInstanceOf(BrokerUnavailableError);
      expect(error.message).toContain('virtual host');
    });

    it('★O2 says so when one side speaks TLS and the other does not', async () => {
      const error = await rejection(adapter(fresh(), { at: url.replace('amqp:', 'amqps:') }).open(TOPOLOGY));
      expect(error.message).toContain('does not speak TLS');
    });
  });

  describe('publish', () => {
    it('carries bytes, headers and key as they are', async () => {
      const { broker } = await ready();
      const payload = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
      const sent = message('schlüssel 🔑', { payload, headers: { ce_id: 'x', ünïcode: 'wért 🎁', empty: '', long: 'y'.repeat(5_000) } });
      const bare = message('empty', { payload: Buffer.alloc(0), headers: {} });
      const large = message('large', { payload: Buffer.alloc(3_000_000, 7) });
      expect(await broker.publish([sent, bare, large])).toEqual([undefined, undefined, undefined]);
      const seen = await collect(broker, 3);
      for (const one of [sent, bare, large]) {
        const got = seen.find(({ key }) => key === one.key);
        expect(got).toMatchObject({ topic: TOPIC, headers: one.headers, deliveryId: `${TOPIC}/${one.eventId}` });
        expect(got?.payload.equals(one.payload)).toBe(true);
        expect(got?.undeliverable).toBeUndefined();
      }
    });

    it('refuses what can never be accepted, and only that', async () => {
      const { broker } = await ready();
      const outcomes = await broker.publish([
        message('large', { payload: Buffer.alloc(broker.maxMessageBytes + 1) }),
        message('headers', { headers: { huge: 'x'.repeat(70_000) } }),
        message('cc', { headers: { CC: 'elsewhere' } }),
        message('type', { type: 'x'.repeat(300) }),
        message('topic', { topic: 'never.heard.of' }),
        message('fits', { payload: Buffer.alloc(broker.maxMessageBytes - 1_000) }),
        message('good'),
      ]);
      expect(outcomes.map((outcome) => outcome?.constructor)).toEqual([
        ...Array<unknown>(5).fill(MessageRejectedError),
        undefined,
        undefined,
      ]);
    });

    it('needs no reader on a topic that nobody subscribes to, and puts dead letters where a tool finds them', async () => {
      const { broker, namespace } = await ready();
      expect(await broker.publish([message('a', { topic: 'shop.unread' }), message('a', { topic: `${TOPIC}.DLT` })])).toEqual([
        undefined,
        undefined,
      ]);
      expect(await waiting(`${namespace}.${TOPIC}.DLT`)).toBe(1);
    });

    it('★R4 refuses what no queue is bound for, holds back the rest of its key, and lets other keys pass', async () => {
      const { broker, namespace } = await ready();
      const [lost, other] = twoBuckets();
      const queue = `${namespace}.${GROUP}.${TOPIC}.${bucketOf(lost, 4)}`;
      await raw((channel) => channel.unbindQueue(queue, `${namespace}.${TOPIC}`, `${bucketOf(lost, 4)}.#`));
      const outcomes = await broker.publish([message(lost), message(other), message(lost), message(other)]);
      expect(outcomes[0]).toBeInstanceOf(MessageRejectedError);
      expect(outcomes[0]?.message).toContain('no queue is bound');
      expect(outcomes[2]).toBeInstanceOf(MessageRejectedError);
      expect([outcomes[1], outcomes[3]]).toEqual([undefined, undefined]);
      await broker.open(TOPOLOGY);
      expect(await broker.publish([message(lost)])).toEqual([undefined]);
      expect(await waiting(queue)).toBe(1);
    });

    it('blames a missing exchange on its own messages, not on others', async () => {
      const { broker, namespace } = await ready();
      await broker.publish([message('warm')]);
      await raw((channel) => channel.deleteExchange(`${namespace}.shop.unread`));
      const outcomes = await broker.publish([message('a', { topic: 'shop.unread' }), message('b')]);
      expect(outcomes[0]).toBeInstanceOf(MessageRejectedError);
      expect(await broker.publish([message('b')])).toEqual([undefined]);
    });

    it('★R1 answers for every message when the connection breaks, and goes on with the next batch', async () => {
      const wire = await proxy();
      const { broker } = await ready({ at: through(wire) });
      await broker.publish([message('warm')]);
      wire.mode = 'silent';
      const pending = broker.publish(Array.from({ length: 300 }, (_, index) => message(`k${index % 100}`)));
      await eventually(() => expect(wire.swallowed).toBeGreaterThan(0));
      wire.cut();
      wire.mode = 'open';
      const outcomes = await pending;
      expect(outcomes).toHaveLength(300);
      for (const outcome of outcomes) expect(outcome).toBeInstanceOf(BrokerUnavailableError);
      expect(await broker.publish([message('after')])).toEqual([undefined]);
    });

    it('gives up a silent broker after the confirm time-out', async () => {
      const wire = await proxy();
      const { broker } = await ready({ at: through(wire), confirmTimeoutMs: 700 });
      await broker.publish([message('warm')]);
      wire.mode = 'silent';
      const outcomes = await broker.publish([message('a'), message('b'), message('a')]);
      for (const outcome of outcomes) expect(outcome).toBeInstanceOf(BrokerUnavailableError);
      wire.mode = 'open';
      expect(await broker.publish([message('a'), message('a')])).toEqual([undefined, undefined]);
    });

    it('keeps the order of a key within and across batches', async () => {
      const { broker } = await ready();
      for (let batch = 0; batch < 5; batch++) {
        await broker.publish(
          Array.from({ length: 200 }, (_, index) => message(`k${index % 7}`, { payload: Buffer.from(String(batch * 200 + index)) })),
        );
      }
      const seen = await collect(broker, 1_000);
      expect(inversions(seen)).toEqual([]);
    });
  });

  describe('subscribe', () => {
    it('hands over at most maxInFlight at once', async () => {
      const { broker } = await ready();
      await broker.publish(Array.from({ length: 100 }, (_, index) => message(`k${index}`)));
      let inside = 0;
      let most = 0;
      let done = 0;
      const active = await broker.subscribe(
        SUBSCRIPTION,
        async () => {
          most = Math.max(most, ++inside);
          await turn();
          inside--;
          done++;
          return 'settled';
        },
        { maxInFlight: 3, onDown: fail },
      );
      await eventually(() => expect(done).toBe(100));
      expect(most).toBe(3);
      await active.close();
      expect(await broker.lag(SUBSCRIPTION)).toBe(0);
    });

    it('close waits for what is in flight, acknowledges it, and leaves the rest to the next one in its place', async () => {
      const { broker, namespace } = await ready();
      const successor = adapter(namespace);
      await successor.open(TOPOLOGY);
      const count = PREFETCH * 3;
      await broker.publish(Array.from({ length: count }, (_, index) => message('one key', { payload: Buffer.from(String(index)) })));
      const first = gathering();
      const hold = deferred<Settlement>();
      const active = await broker.subscribe(
        SUBSCRIPTION,
        (incoming) => {
          first.seen.push(incoming);
          return first.seen.length <= 10 ? Promise.resolve('settled') : hold.promise;
        },
        { maxInFlight: 20, onDown: fail },
      );
      await eventually(() => expect(first.seen.length).toBe(30));
      const second = gathering();
      const next = await successor.subscribe(SUBSCRIPTION, second.deliver, { maxInFlight: 100, onDown: fail });
      let closed = false;
      const closing = active.close().then(() => (closed = true));
      await raw(() => turn(200));
      expect(closed).toBe(false);
      expect(second.seen).toEqual([]);
      hold.resolve('settled');
      await closing;
      await eventually(() => expect(second.seen.length).toBe(count - 30));
      expect([...first.seen, ...second.seen].map(({ payload }) => Number(payload))).toEqual(
        Array.from({ length: count }, (_, index) => index),
      );
      await next.close();
    });

    it('delivers what was released again, in its place', async () => {
      const { broker } = await ready();
      await broker.publish(Array.from({ length: 60 }, (_, index) => message('one key', { payload: Buffer.from(String(index)) })));
      const handled: IncomingMessage[] = [];
      const ids: string[] = [];
      let released = false;
      const active = await broker.subscribe(
        SUBSCRIPTION,
        (incoming) => {
          ids.push(incoming.deliveryId);
          // As the runner does it: the first is released, and with it every later one of its key that is in hand.
          if (!released && Number(incoming.payload) >= 5) {
            if (Number(incoming.payload) === 14) released = true;
            return Promise.resolve('release');
          }
          handled.push(incoming);
          return Promise.resolve('settled');
        },
        { maxInFlight: 10, onDown: fail },
      );
      await eventually(() => expect(handled.length).toBeGreaterThanOrEqual(60));
      expect(handled.map(({ payload }) => Number(payload))).toEqual(Array.from({ length: 60 }, (_, index) => index));
      expect(new Set(ids).size).toBe(60);
      await active.close();
      expect(await broker.lag(SUBSCRIPTION)).toBe(0);
    });

    it('★R14 aborts the deliveries and says onDown once when the connection breaks; a late settlement harms nobody', async () => {
      const wire = await proxy();
      const { broker } = await ready({ at: through(wire) });
      await broker.publish([message('a'), message('b'), message('c')]);
      const hold = deferred<Settlement>();
      const first: IncomingMessage[] = [];
      const downs: Error[] = [];
      const active = await broker.subscribe(
        SUBSCRIPTION,
        (incoming) => {
          first.push(incoming);
          return hold.promise;
        },
        { maxInFlight: 10, onDown: (reason) => downs.push(reason) },
      );
      await eventually(() => expect(first.length).toBe(3));
      wire.cut();
      await eventually(() => expect(downs.length).toBe(1));
      expect(first.every(({ signal }) => signal.aborted)).toBe(true);
      hold.resolve('settled');
      await active.close();
      const again = await collect(broker, 3);
      expect(again.map(({ deliveryId }) => deliveryId).sort()).toEqual(first.map(({ deliveryId }) => deliveryId).sort());
      expect(downs).toHaveLength(1);
      expect(downs[0]).toBeInstanceOf(BrokerUnavailableError);
    });

    it('R16 says onDown when its queue is deleted, and makes the queue again at the next subscription', async () => {
      const { broker, namespace } = await ready();
      const downs: Error[] = [];
      const active = await broker.subscribe(SUBSCRIPTION, () => Promise.resolve('settled'), {
        maxInFlight: 10,
        onDown: (error) => downs.push(error),
      });
      await raw((channel) => channel.deleteQueue(`${namespace}.${GROUP}.${TOPIC}.2`));
      await eventually(() => expect(downs.length).toBe(1));
      expect(downs[0]?.message).toContain(`${TOPIC}.2`);
      await active.close();
      const seen = gathering();
      const next = await broker.subscribe(SUBSCRIPTION, seen.deliver, { maxInFlight: 10, onDown: fail });
      await broker.publish(Array.from({ length: 20 }, (_, index) => message(`k${index}`)));
      await eventually(() => expect(seen.seen.length).toBe(20));
      await next.close();
      expect(downs).toHaveLength(1);
    });

    it('★R5 gives up the message that was in hand at each crash, in its place, and nothing else', async () => {
      const { broker, namespace } = await ready({ deliveryLimit: 3 });
      await broker.publish(Array.from({ length: 5 }, (_, index) => message('poison', { payload: Buffer.from(String(index)) })));
      for (let crash = 0; crash < 3; crash++) {
        const hit = await crashing(namespace, { deliveryLimit: 3 });
        expect(hit.map(({ undeliverable }) => undeliverable)).toEqual(Array<undefined>(5).fill(undefined));
      }
      const seen = await collect(broker, 5);
      expect(seen.map(({ payload }) => Number(payload))).toEqual([0, 1, 2, 3, 4]);
      expect(seen.map(({ undeliverable }) => undeliverable !== undefined)).toEqual([true, false, false, false, false]);
      expect(seen[0]?.undeliverable).toContain('delivered 3 times');
    });

    it('★R5 hears of what the broker itself gave up', async () => {
      const { broker, namespace } = await ready({ deliveryLimit: 1 });
      const sent = message('poison');
      await broker.publish([sent]);
      for (let crash = 0; crash < 3; crash++) await crashing(namespace, { deliveryLimit: 1 }, 1);
      await eventually(async () => expect(await waiting(`${namespace}.${GROUP}.${TOPIC}.undeliverable`)).toBe(1));
      expect(await broker.lag(SUBSCRIPTION)).toBe(1);
      const [seen] = await collect(broker, 1);
      expect(seen).toMatchObject({ key: 'poison', headers: sent.headers, deliveryId: `${TOPIC}/${sent.eventId}` });
      expect(seen?.undeliverable).toContain('gave it up');
      expect(await broker.lag(SUBSCRIPTION)).toBe(0);
    });

    /** An instance that gets messages and loses the broker without having settled one. */
    async function crashing(namespace: string, options: AdapterOptions, count = 5): Promise<IncomingMessage[]> {
      const wire = await proxy();
      const doomed = adapter(namespace, { ...options, at: through(wire) });
      const seen: IncomingMessage[] = [];
      const down = deferred<Error>();
      const active = await doomed.subscribe(
        SUBSCRIPTION,
        (incoming) => {
          seen.push(incoming);
          return new Promise((resolve) => incoming.signal.addEventListener('abort', () => resolve('release')));
        },
        { maxInFlight: 10, onDown: down.resolve },
      );
      await eventually(() => expect(seen.length).toBe(count));
      wire.cut();
      await down.promise;
      await active.close();
      return seen;
    }

    it('★K1/P10 keeps the order of each key while instances come, go and break', async () => {
      const { broker, namespace } = await ready();
      const keys = 40;
      const total = 4_000;
      const firstSeen = new Map<string, number[]>();
      const known = new Set<string>();
      let deliveries = 0;
      const tails = new Map<string, Promise<unknown>>();
      // Each key's work is done in the order of the calls, with pauses of changing length, as the runner does it.
      const deliver: Deliver = (incoming) => {
        deliveries++;
        const key = incoming.key as string;
        const work = (tails.get(key) ?? Promise.resolve()).then(async (): Promise<Settlement> => {
          if (incoming.signal.aborted) return 'release';
          await turn(Math.random() * 60);
          if (incoming.signal.aborted) return 'release';
          if (!known.has(incoming.deliveryId)) {
            known.add(incoming.deliveryId);
            firstSeen.set(key, [...(firstSeen.get(key) ?? []), Number(incoming.payload)]);
          }
          return 'settled';
        });
        tails.set(key, work);
        return work;
      };
      const comeAndGo = async (breaks: boolean): Promise<number> => {
        let rounds = 0;
        while (known.size < total) {
          const wire = await proxy();
          const instance = adapter(namespace, { at: through(wire) });
          const down = deferred<Error>();
          const active = await instance.subscribe(SUBSCRIPTION, deliver, { maxInFlight: 50, onDown: down.resolve });
          await turn(50 + Math.random() * 250);
          if (breaks) {
            wire.cut();
            await down.promise;
          }
          await active.close();
          await instance.close();
          rounds++;
        }
        return rounds;
      };
      const comers = [comeAndGo(false), comeAndGo(true), comeAndGo(false)];
      for (let sent = 0; sent < total; sent += 100) {
        const outcomes = await broker.publish(
          Array.from({ length: 100 }, (_, index) => message(`k${(sent + index) % keys}`, { payload: Buffer.from(String(sent + index)) })),
        );
        expect(outcomes.every((outcome) => outcome === undefined)).toBe(true);
      }
      const rounds = await Promise.all(comers);
      expect(Math.min(...rounds)).toBeGreaterThan(3);
      expect(deliveries).toBeGreaterThan(total);
      for (const [key, numbers] of firstSeen) expect([key, numbers]).toEqual([key, [...numbers].sort((a, b) => a - b)]);
    });

    it('takes 50,000 messages with bounded memory', async () => {
      const { broker } = await ready({ queuesPerGroup: 8 });
      const total = 50_000;
      const started = performance.now();
      let sent = 0;
      const payload = Buffer.alloc(500, 'x');
      while (sent < total) {
        const outcomes = await broker.publish(Array.from({ length: 500 }, () => message(`k${sent++ % 500}`, { payload })));
        if (outcomes.some(Boolean)) throw outcomes.find(Boolean) as Error;
      }
      const published = performance.now();
      let received = 0;
      let inside = 0;
      let most = 0;
      const before = process.memoryUsage().heapUsed;
      let peak = 0;
      const active = await broker.subscribe(
        SUBSCRIPTION,
        async () => {
          most = Math.max(most, ++inside);
          if (++received % 1_000 === 0) peak = Math.max(peak, process.memoryUsage().heapUsed);
          await turn();
          inside--;
          return 'settled';
        },
        { maxInFlight: 200, onDown: fail },
      );
      await eventually(() => expect(received).toBe(total), { timeoutMs: 60_000 });
      const consumed = performance.now();
      await active.close();
      console.info(
        `${Math.round(total / ((published - started) / 1000))} published/s, ${Math.round(total / ((consumed - published) / 1000))} consumed/s, ` +
          `at most ${most} in flight, heap +${Math.round((peak - before) / 1e6)} MB`,
      );
      expect(most).toBeLessThanOrEqual(200);
      expect(peak - before).toBeLessThan(150e6);
      expect(await broker.lag(SUBSCRIPTION)).toBe(0);
    });
  });

  it('check answers within five seconds, whatever the network does', async () => {
    const wire = await proxy();
    const { broker } = await ready({ at: through(wire) });
    await broker.check();
    wire.mode = 'silent';
    const asked = performance.now();
    expect(await rejection(broker.check())).toBeInstanceOf(BrokerUnavailableError);
    expect(performance.now() - asked).toBeLessThan(5_000);
    wire.cut();
    wire.mode = 'open';
    await eventually(() => broker.check());
  });

  it('★R12 notices by heartbeat that a silent connection is dead', async () => {
    const wire = await proxy();
    const { broker } = await ready({ at: through(wire), heartbeatSeconds: 1 });
    const down = deferred<Error>();
    const active = await broker.subscribe(SUBSCRIPTION, () => Promise.resolve('settled'), { maxInFlight: 10, onDown: down.resolve });
    wire.mode = 'silent';
    expect((await down.promise).message).toContain('Heartbeat timeout');
    await active.close();
  });

  describe('with a server of its own, which fails', () => {
    let own: RabbitServer;
    beforeAll(async () => {
      own = await startServer('rabbitmq');
    });
    afterAll(() => own?.dispose());

    const at = (): string => own.env['RABBITMQ_URL'] as string;

    it('★R6 stops publishing during an alarm, not consuming, and can be closed', async () => {
      const { broker } = await ready({ at: at(), confirmTimeoutMs: 1_000 });
      await broker.publish([message('a'), message('b')]);
      await own.ctl('set_vm_memory_high_watermark', '0');
      try {
        const refused = await eventually(async () => {
          const [outcome] = await broker.publish([message('c')]);
          if (!outcome) throw new Error('the alarm is not on yet');
          return outcome;
        });
        expect(refused).toBeInstanceOf(BrokerUnavailableError);
        expect(refused.message).toContain('alarm');
        const seen = gathering();
        const active = await broker.subscribe(SUBSCRIPTION, seen.deliver, { maxInFlight: 10, onDown: fail });
        await eventually(() => expect(seen.seen.length).toBeGreaterThanOrEqual(2));
        await broker.check();
        await active.close();
        void broker.publish([message('d')]);
        const closing = performance.now();
        await broker.close();
        expect(performance.now() - closing).toBeLessThan(4_000);
      } finally {
        await own.ctl('set_vm_memory_high_watermark', '0.4');
      }
      const { broker: later } = await ready({ at: at() });
      expect(await later.publish([message('e')])).toEqual([undefined]);
    });

    it('★R1 loses nothing and inverts nothing when every connection is closed by the server under load', async () => {
      await underLoad(async () => {
        for (let times = 0; times < 3; times++) {
          await own.ctl('close_all_connections', 'test');
          await turn(500);
        }
      });
    });

    it('★K3 loses nothing and inverts nothing when the server is stopped under load and comes back', async () => {
      await underLoad(async () => {
        await own.stop();
        await own.start();
      });
    });

    it('★P3 loses nothing and inverts nothing when the server is killed under load and comes back', async () => {
      await underLoad(async () => {
        await own.kill();
        await own.start();
      });
    });

    /** Publishes as the relay does (a key goes on only after its proof) and consumes as the supervisor does, while `fault` happens. */
    async function underLoad(fault: () => Promise<void>): Promise<void> {
      const { broker } = await ready({ at: at(), confirmTimeoutMs: 2_000 });
      const keys = Array.from({ length: 50 }, (_, index) => `k${index}`);
      const firstSeen = new Map(keys.map((key) => [key, [] as number[]]));
      const known = new Set<string>();
      let downs = 0;
      let stopping = false;
      let active: ActiveSubscription | undefined;
      const deliver: Deliver = (incoming) => {
        if (!known.has(incoming.deliveryId)) {
          known.add(incoming.deliveryId);
          firstSeen.get(incoming.key as string)?.push(Number(incoming.payload));
        }
        return Promise.resolve('settled');
      };
      const subscribe = async (): Promise<void> => {
        while (!stopping) {
          try {
            active = await broker.subscribe(SUBSCRIPTION, deliver, {
              maxInFlight: 100,
              onDown: () => {
                downs++;
                void active?.close().then(subscribe);
              },
            });
            return;
          } catch (error) {
            expect(error).toBeInstanceOf(BrokerUnavailableError);
            await turn(200);
          }
        }
      };
      await subscribe();
      let failures = 0;
      let publishing = true;
      let number = 0;
      const proved = new Set<number>();
      const pump = (async () => {
        let outbox: OutgoingMessage[] = [];
        while (!stopping && (publishing || outbox.length > 0)) {
          while (publishing && outbox.length < 200)
            outbox.push(message(keys[number % keys.length] as string, { payload: Buffer.from(String(number++)) }));
          const outcomes = await broker.publish(outbox);
          outbox.forEach(({ payload }, index) => outcomes[index] ?? proved.add(Number(payload)));
          const rest = outbox.filter((_, index) => outcomes[index]);
          failures += rest.length;
          outbox = rest;
          await turn(rest.length > 0 ? 100 : 5);
        }
      })();
      try {
        await eventually(() => expect(known.size).toBeGreaterThan(1_000));
        await fault();
        await eventually(() => expect(failures).toBeGreaterThan(0));
        const before = proved.size;
        await eventually(() => expect(proved.size).toBeGreaterThan(before + 1_000), { timeoutMs: 60_000 });
        publishing = false;
        await pump;
        await eventually(() => expect(known.size).toBe(number), { timeoutMs: 60_000 });
      } finally {
        stopping = true;
        await active?.close();
      }
      expect(downs).toBeGreaterThan(0);
      for (const [key, numbers] of firstSeen) expect([key, numbers]).toEqual([key, [...numbers].sort((a, b) => a - b)]);
    }
  });

  async function collect(broker: RabbitmqAdapter, count: number): Promise<IncomingMessage[]> {
    const gathered = gathering();
    const active = await broker.subscribe(SUBSCRIPTION, gathered.deliver, { maxInFlight: 100, onDown: fail });
    await eventually(() => expect(gathered.seen.length).toBeGreaterThanOrEqual(count));
    await active.close();
    expect(gathered.seen).toHaveLength(count);
    return gathered.seen;
  }
});

const fresh = (): string => `t${randomUUID().slice(0, 8)}`;

function message(key: string, overrides: Partial<OutgoingMessage> = {}): OutgoingMessage {
  const eventId = randomUUID();
  return { eventId, topic: TOPIC, type: `${TOPIC}.placed`, key, headers: { ce_id: eventId }, payload: Buffer.from('{}'), ...overrides };
}

function twoBuckets(): [string, string] {
  const other = Array.from({ length: 50 }, (_, index) => `other${index}`).find((key) => bucketOf(key, 4) !== bucketOf('lost', 4));
  return ['lost', other as string];
}

function gathering(): { seen: IncomingMessage[]; deliver: Deliver } {
  const seen: IncomingMessage[] = [];
  return {
    seen,
    deliver: (incoming) => {
      seen.push(incoming);
      return Promise.resolve('settled');
    },
  };
}

function inversions(seen: readonly IncomingMessage[]): string[] {
  const last = new Map<string, number>();
  return seen.flatMap(({ key, payload }) => {
    const number = Number(payload);
    const former = last.get(key as string) ?? -1;
    last.set(key as string, number);
    return number > former ? [] : [`${key}: ${number} after ${former}`];
  });
}

function fail(error: Error): never {
  throw error;
}

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((resolved) => (resolve = resolved));
  return { promise, resolve };
}

/** Lets other things happen; never used to wait for a result. */
const turn = (milliseconds = 0): Promise<void> =>
  new Promise((resolve) => (milliseconds > 0 ? setTimeout(resolve, milliseconds) : setImmediate(resolve)));

async function rejection(work: Promise<unknown>): Promise<Error> {
  const result = await work.then(
    () => undefined,
    (error: Error) => error,
  );
  if (!result) throw new Error('expected a rejection');
  return result;
}

/** Stands between the adapter and the server. */
class Proxy {
  mode: 'open' | 'silent' = 'open';
  /** Bytes that arrived while silent and were not passed on. */
  swallowed = 0;
  private readonly sockets = new Set<net.Socket>();

  private constructor(private readonly listener: net.Server) {}

  static async start(target: number): Promise<Proxy> {
    const listener = net.createServer();
    const made = new Proxy(listener);
    listener.on('connection', (client) => {
      const upstream = net.connect(target, '127.0.0.1');
      for (const [from, to] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        made.sockets.add(from);
        from.on('data', (chunk: Buffer) => {
          if (made.mode === 'open') to.write(chunk);
          else made.swallowed += chunk.length;
        });
        from.on('error', () => undefined);
        from.on('close', () => {
          made.sockets.delete(from);
          if (made.mode === 'open') to.destroy(); // a silent network does not tell of an end either
        });
      }
    });
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    return made;
  }

  get port(): number {
    return (this.listener.address() as net.AddressInfo).port;
  }

  /** Breaks every connection. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  async end(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.listener.close(resolve));
  }
}
