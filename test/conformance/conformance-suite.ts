import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomBytes, randomUUID } from 'node:crypto';
import { startServer } from '../../scripts/servers/index.mjs';
import type { BrokerName } from '../../src/config/config.js';
import type { Transaction } from '../../src/database/database.js';
import type { EventEnvelope } from '../../src/messaging/index.js';
import { MessageRejectedError, type IncomingMessage, type OutgoingMessage } from '../../src/messaging/transport/broker-adapter.js';
import { brokersUnderTest, stopServers } from '../support/brokers-under-test.js';
import { eventually, gate } from '../support/eventually.js';
import { eventMessage, thing, THING, type ThingHappened } from '../support/things.js';
import { World, type Instance, type TestHandler } from '../support/world.js';

type Thing = EventEnvelope<ThingHappened>;

/** What every broker must keep, told in the words of the README's promises. One file of cases for all of them. */
export function conformanceSuite(broker: BrokerName): void {
  const suite = brokersUnderTest().includes(broker) ? describe : describe.skip;

  suite(`conformance of ${broker}`, () => {
    let world: World;
    beforeEach(async () => {
      world = await World.create(broker);
    });
    afterEach(() => world.destroy());
    afterAll(() => stopServers());

    it('every group gets every event', async () => {
      const seen: Record<string, Set<number>> = { one: new Set(), two: new Set(), three: new Set() };
      const instance = await world.start(Object.keys(seen).map((group) => recorder(group, (event) => seen[group]?.add(event.data.n))));
      await world.emit(
        instance,
        range(50).map((n) => thing(randomUUID(), n)),
      );
      await eventually(() => {
        for (const numbers of Object.values(seen)) expect([...numbers].sort(ascending)).toEqual(range(50));
      });
      await eventually(async () => expect(await world.count('outbox')).toBe(0)); // an event may be here before its proof is
    });

    it('all fields of the envelope survive', async () => {
      const events: Thing[] = [];
      const instance = await world.start([recorder('one', (event) => events.push(event))]);
      const text = `line\nbreak "quotes" \\ ünïcödé 日本語 🎉 \t${'x'.repeat(1000)}`;
      const key = randomUUID();
      await world.emit(instance, [thing(key, 7, text)]);
      await eventually(async () => expect(await world.count('inbox')).toBe(1)); // after the handler has returned
      expect(events).toHaveLength(1);
      const event = events[0] as Thing;
      const [row] = await world.database.query<{ event_id: string }>('SELECT event_id FROM inbox');
      expect(event).toMatchObject({
        specversion: '1.0',
        id: row?.event_id,
        type: THING.type,
        subject: key,
        partitionkey: key,
        dataschema: `urn:waybill:${THING.type}:v1`,
        data: { thingId: key, n: 7, text },
      });
      expect(event.correlationid).toBe(event.id);
      expect(Math.abs(Date.now() - Date.parse(event.time))).toBeLessThan(60_000);
    });

    it('any bytes survive, up to the limit of the broker', async () => {
      const instance = await world.start([recorder('one', () => undefined)], { roles: ['relay'] });
      const headers = { 'content-type': 'application/octet-stream', 'x-text': 'ünïcödé "quoted" 日本語' };
      const size = Math.min(instance.adapter.maxMessageBytes, 4 * 1024 * 1024) - 2048;
      const payloads = [
        Buffer.alloc(0),
        Buffer.from(range(256)),
        Buffer.from('plain text'),
        Buffer.from([0xff, 0xfe, 0x00]),
        randomBytes(1000),
        Buffer.alloc(size, 'a'),
      ];
      const messages = payloads.map((payload) => message(randomUUID(), payload, headers));
      expect(await instance.adapter.publish(messages)).toEqual(messages.map(() => undefined));
      const received = await receive(instance, messages.length);
      for (const sent of messages) {
        const got = received.find(({ key }) => key === sent.key);
        expect(got?.payload.equals(sent.payload)).toBe(true);
        expect(got?.headers).toMatchObject(headers);
      }
    });

    it('one key keeps its order with three instances, while instances come and go', async () => {
      const keys = range(50).map(() => randomUUID());
      const seen = new Map<string, number[]>(keys.map((key) => [key, []]));
      // First-seen order is what counts: a second delivery, after a take-over, may come late.
      const handler = recorder('one', async ({ data }, context) => {
        await context.once(async () => {
          const numbers = seen.get(data.thingId);
          if (!numbers?.includes(data.n)) numbers?.push(data.n);
        });
      });
      const writer = await world.start([handler], { roles: ['relay'] });
      const instances = await Promise.all(range(3).map(() => world.start([handler])));
      const emitting = (async () => {
        for (const n of range(20)) await Promise.all(keys.map((key) => world.emit(writer, [thing(key, n)])));
      })();
      const half = (): boolean => [...seen.values()].flat().length >= 300;
      await eventually(() => expect(half()).toBe(true), { timeoutMs: 60_000 });
      await (instances[0] as Instance).stop();
      await world.start([handler]);
      await (instances[1] as Instance).stop();
      await emitting;
      await eventually(() => expect([...seen.values()].flat()).toHaveLength(1000), { timeoutMs: 90_000 });
      for (const numbers of seen.values()) expect(numbers).toEqual(range(20));
      await eventually(async () => expect(await world.count('inbox')).toBe(1000));
      expect(await world.deadLetters()).toEqual([]);
    }, 240_000);

    it('different keys run in parallel', async () => {
      let running = 0;
      let most = 0;
      const together = gate();
      const instance = await world.start([
        recorder('one', async () => {
          most = Math.max(most, ++running);
          if (running >= 8) together.open();
          await together.opened;
          running--;
        }),
      ]);
      await world.emit(
        instance,
        range(40).map((n) => thing(randomUUID(), n)),
      );
      await eventually(() => expect(most).toBeGreaterThanOrEqual(8));
      await eventually(async () => expect(await world.count('inbox')).toBe(40));
    });

    it('a failing event is retried with a rising attempt, holds up its own key only, and ends as a dead letter with the original bytes', async () => {
      const bad = randomUUID();
      const good = randomUUID();
      const attempts: number[] = [];
      const handled: string[] = [];
      const instance = await world.start([
        recorder('one', ({ data }, context) => {
          if (data.thingId === bad && data.n === 0) {
            attempts.push(context.attempt);
            throw new Error('cannot');
          }
          handled.push(`${data.thingId === bad ? 'bad' : 'good'} ${data.n}`);
        }),
      ]);
      await world.emit(instance, [thing(bad, 0, 'kept'), thing(bad, 1), thing(good, 0), thing(good, 1)]);
      await eventually(async () => expect(await world.deadLetters()).toHaveLength(1));
      expect(attempts).toEqual([1, 2, 3]);
      await eventually(() => expect(handled).toEqual(['good 0', 'good 1']));
      const [letter] = await world.deadLetters();
      expect(letter).toMatchObject({
        group: 'one',
        key: bad,
        attempts: 3,
        state: 'open',
        reason: 'attempts_exhausted',
        headers: { ce_type: THING.type, ce_partitionkey: bad },
      });
      expect(letter?.payload.toString()).toBe(JSON.stringify(thing(bad, 0, 'kept')));
      await eventually(async () => expect(await world.count('parked_event')).toBe(1));
      await world.emit(instance, [thing(good, 2)]);
      await eventually(() => expect(handled).toEqual(['good 0', 'good 1', 'good 2']));
    });

    it('a replay goes to that group alone, then come the events that waited behind it, in order', async () => {
      const key = randomUUID();
      const seen: Record<string, number[]> = { one: [], two: [] };
      let broken = true;
      const instance = await world.start([
        recorder('one', ({ data }) => {
          if (broken && data.n === 0) throw new Error('broken');
          seen['one']?.push(data.n);
        }),
        recorder('two', ({ data }) => void seen['two']?.push(data.n)),
      ]);
      await world.emit(
        instance,
        range(6).map((n) => thing(key, n)),
      );
      await eventually(async () => {
        expect(await world.deadLetters()).toHaveLength(1);
        expect(await world.count('parked_event')).toBe(5);
        expect(seen).toEqual({ one: [], two: range(6) });
      });
      broken = false;
      const [letter] = await world.deadLetters();
      await instance.deadLetters.replay(letter?.id as string);
      await eventually(async () => {
        expect(seen['one']).toEqual(range(6));
        expect((await world.deadLetters())[0]?.state).toBe('replayed');
        expect(await world.count('parked_key')).toBe(0);
      });
      expect(seen['two']).toEqual(range(6));
    });

    it('a duplicate has no second effect, also when two instances get it at once', async () => {
      await world.database.query('CREATE TABLE effect (event_id uuid)');
      const insert = recorder('one', (event, context) =>
        context.once(async (tx) => void (await tx.$executeRaw`INSERT INTO effect VALUES (${event.id}::uuid)`)),
      );
      const first = await world.start([insert]);
      const second = await world.start([insert]);
      const events = range(40).map((n) => eventMessage(randomUUID(), n));
      const publish = async (instance: Instance): Promise<void> => {
        for (const outcome of await instance.adapter.publish(events)) expect(outcome).toBeUndefined();
      };
      await Promise.all([publish(first), publish(second)]);
      await publish(first);
      await eventually(async () => expect(await world.count('effect')).toBe(40));
      await eventually(async () => {
        for (const { lag } of await first.status.groups()) expect(lag).toBe(0);
      });
      expect(await world.count('effect')).toBe(40);
      expect(await world.deadLetters()).toEqual([]);
    });

    it('nothing is lost before the first subscriber of a provisioned group', async () => {
      const seen: number[] = [];
      const handler = recorder('one', ({ data }) => void seen.push(data.n));
      const writer = await world.start([handler], { roles: ['relay'] });
      await world.emit(
        writer,
        range(20).map((n) => thing(randomUUID(), n)),
      );
      await eventually(async () => expect(await world.count('outbox')).toBe(0));
      expect(seen).toEqual([]);
      await world.start([handler]);
      await eventually(() => expect([...seen].sort(ascending)).toEqual(range(20)));
    });

    it('a partial failure of a batch names exactly the failed entries', async () => {
      const seen: string[] = [];
      const instance = await world.start([recorder('one', ({ data }) => void seen.push(data.thingId))]);
      const batch = range(5).map((n) => eventMessage(randomUUID(), n));
      const tooLarge = message(randomUUID(), Buffer.alloc(instance.adapter.maxMessageBytes + 64 * 1024, 'a'), {});
      const outcomes = await instance.adapter.publish([...batch.slice(0, 2), tooLarge, ...batch.slice(2)]);
      expect(outcomes.map((outcome) => outcome instanceof MessageRejectedError)).toEqual([false, false, true, false, false, false]);
      expect(outcomes.filter((outcome) => outcome === undefined)).toHaveLength(5);
      await eventually(() => expect([...seen].sort()).toEqual(batch.map(({ key }) => key).sort()));
    });

    it('the server is stopped under load and comes back: all arrives, no attempt is counted, nothing is a dead letter', async () => {
      const server = await startServer(broker);
      const outage = await World.create(
        broker,
        broker === 'postgres' ? {} : server.env,
        broker === 'postgres' ? server.env['DATABASE_URL'] : undefined,
      );
      try {
        const attempts = new Set<number>();
        const seen = new Set<number>();
        const instance = await outage.start([
          recorder('one', async (event, context) => {
            attempts.add(context.attempt);
            await context.once(async () => void seen.add(event.data.n));
          }),
        ]);
        const keys = range(10).map(() => randomUUID());
        const emit = async (from: number, to: number): Promise<void> => {
          for (let n = from; n < to; n++)
            await eventually(() => outage.emit(instance, [thing(keys[n % 10] as string, n)]), { timeoutMs: 60_000, everyMs: 250 });
        };
        await emit(0, 100);
        await eventually(() => expect(seen.size).toBeGreaterThan(20));
        const load = emit(100, 300);
        await server.kill();
        await eventually(() => expect(() => instance.status.assertBroker()).toThrow()); // the outage was noticed, so it happened
        await server.start();
        await load;
        await eventually(() => expect(seen.size).toBe(300), { timeoutMs: 90_000 });
        expect([...attempts]).toEqual([1]);
        expect(await outage.deadLetters()).toEqual([]);
        await eventually(() => instance.status.assertBroker(), { timeoutMs: 60_000 });
      } finally {
        await outage.destroy();
        await server.dispose();
      }
    }, 240_000);

    it('close waits for what is in flight', async () => {
      const started = gate();
      const finish = gate();
      const instance = await world.start([
        recorder('one', async (_event, context) => {
          started.open();
          await finish.opened;
          await context.once(() => Promise.resolve());
        }),
      ]);
      await world.emit(instance, [thing(randomUUID(), 0)]);
      await started.opened;
      const stopping = instance.stop();
      finish.open();
      expect(await stopping).toBe(true);
      expect(await world.count('inbox')).toBe(1);
    });

    it('an interrupted attempt is not counted, and the event comes again', async () => {
      const started = gate();
      const attempts: number[] = [];
      const first = await world.start([
        recorder('one', async (_event, { signal }) => {
          started.open();
          await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
        }),
      ]);
      await world.emit(first, [thing(randomUUID(), 0)]);
      await started.opened;
      expect(await first.stop(50)).toBe(false);
      await world.start([recorder('one', (_event, { attempt }) => void attempts.push(attempt))]);
      await eventually(() => expect(attempts).toEqual([1]), { timeoutMs: 60_000 });
      expect(await world.count('dead_letter')).toBe(0);
    }, 90_000);

    it('malformed bytes go to the dead letters, and the consumer lives', async () => {
      const seen: number[] = [];
      const instance = await world.start([recorder('one', ({ data }) => void seen.push(data.n))]);
      const valid = eventMessage(randomUUID(), 1);
      const garbage = [
        { ...message(randomUUID(), Buffer.from('not json'), {}), why: 'malformed' },
        { ...message(randomUUID(), Buffer.alloc(0), {}), why: 'malformed' },
        { ...eventMessage(randomUUID(), 1), payload: Buffer.from([0xff, 0xfe, 0xfd]), why: 'malformed' },
        { ...eventMessage(randomUUID(), 1), payload: Buffer.from('{"n":'), why: 'malformed' },
        { ...eventMessage(randomUUID(), 1), payload: Buffer.from('{"__proto__":{"x":1}}'), why: 'malformed' },
        { ...eventMessage(randomUUID(), 1), payload: Buffer.from('{"thingId":"no uuid","n":"one"}'), why: 'invalid' },
        { ...eventMessage(randomUUID(), 1), payload: Buffer.from('[]'), why: 'invalid' },
        { ...withHeader(eventMessage(randomUUID(), 1), 'ce_dataschema', `urn:waybill:${THING.type}:v99`), why: 'unsupported_version' },
        { ...withHeader(eventMessage(randomUUID(), 1), 'ce_id', 'no uuid'), why: 'malformed' },
      ];
      expect(await instance.adapter.publish([...garbage, valid])).toEqual([...garbage, valid].map(() => undefined));
      await eventually(async () => expect(await world.deadLetters()).toHaveLength(garbage.length));
      const letters = await world.deadLetters();
      for (const { payload, why } of garbage)
        expect(letters.some((letter) => letter.reason === why && Buffer.from(letter.payload).equals(payload))).toBe(true);
      for (const { attempts } of letters) expect(attempts).toBe(1);
      await world.emit(instance, [thing(randomUUID(), 2)]);
      await eventually(() => expect([...seen].sort(ascending)).toEqual([1, 2]));
      expect(({} as Record<string, unknown>)['x']).toBeUndefined();
    });

    it('a type that nobody in the group handles is acknowledged', async () => {
      const seen: number[] = [];
      const instance = await world.start([recorder('one', ({ data }) => void seen.push(data.n))]);
      const key = randomUUID();
      const unknown = withHeader(eventMessage(key, 1), 'ce_type', 'conformance.thing.forgotten');
      expect(await instance.adapter.publish([unknown, eventMessage(key, 2)])).toEqual([undefined, undefined]);
      await eventually(() => expect(seen).toEqual([2]));
      expect(await world.deadLetters()).toEqual([]);
    });

    describe.each(['batch', 'grouped'] as const)('events that are committed together: %s', (mode) => {
      it('each has one effect, in the order of its key, though all come twice and instances come and go', async () => {
        await world.database.query('CREATE TABLE effect (seq bigserial, thing_id uuid, n int)');
        let together = 0;
        const handler = committing(mode, async (tx, events) => {
          together = Math.max(together, events.length);
          for (const { data } of events) await tx.$executeRaw`INSERT INTO effect (thing_id, n) VALUES (${data.thingId}::uuid, ${data.n})`;
        });
        const keys = range(20).map(() => randomUUID());
        const events = range(20).flatMap((n) => keys.map((key) => eventMessage(key, n)));
        const writer = await world.start([handler], { roles: ['relay'] });
        for (const outcome of await writer.adapter.publish(events)) expect(outcome).toBeUndefined();
        const first = await world.start([handler]);
        await eventually(async () => expect(await world.count('effect')).toBeGreaterThan(40));
        await world.start([handler]);
        for (const outcome of await writer.adapter.publish(events)) expect(outcome).toBeUndefined();
        await first.stop();
        await eventually(
          async () => {
            for (const { lag } of await writer.status.groups()) expect(lag).toBe(0);
            expect(await world.count('effect')).toBe(400);
          },
          { timeoutMs: 60_000 },
        );
        for (const key of keys) {
          const rows = await world.database.query<{ n: number }>('SELECT n FROM effect WHERE thing_id = $1 ORDER BY seq', [key]);
          expect(rows.map(({ n }) => n)).toEqual(range(20));
        }
        if (mode === 'batch') expect(together).toBeGreaterThan(1);
        expect(await world.count('inbox')).toBe(400);
        expect(await world.deadLetters()).toEqual([]);
      }, 120_000);

      it('one that fails takes none with it: it is retried, becomes a dead letter and holds up its own key, as by itself', async () => {
        await world.database.query('CREATE TABLE effect (thing_id uuid, n int)');
        const bad = randomUUID();
        const attempts: number[] = [];
        const failedWith = new Set<number>();
        let broken = true;
        const handler = committing(mode, async (tx, events, attempt) => {
          for (const { data } of events) {
            await tx.$executeRaw`INSERT INTO effect VALUES (${data.thingId}::uuid, ${data.n})`;
            if (!broken || data.thingId !== bad || data.n !== 0) continue;
            failedWith.add(events.length);
            if (events.length === 1) attempts.push(attempt);
            throw new Error('cannot');
          }
        });
        // All of it waits at the broker before anybody takes it, so that it comes together.
        const writer = await world.start([handler], { roles: ['relay'] });
        const good = range(30).map(() => randomUUID());
        await world.emit(writer, [thing(bad, 0, 'kept'), thing(bad, 1), ...good.map((key) => thing(key, 0))], true);
        await eventually(async () => expect(await world.count('outbox')).toBe(0));
        const instance = await world.start([handler]);
        await eventually(async () => {
          expect(await world.deadLetters()).toMatchObject([{ group: 'one', key: bad, attempts: 3, reason: 'attempts_exhausted' }]);
          expect(await world.count('effect')).toBe(30);
          expect(await world.count('parked_event')).toBe(1);
        });
        // Grouped, it fails once more in company, which is no attempt of its own.
        expect(attempts.filter((attempt, index) => attempt !== attempts[index - 1])).toEqual([1, 2, 3]);
        if (mode === 'batch') expect(Math.max(...failedWith)).toBeGreaterThan(1);
        broken = false;
        const [letter] = await world.deadLetters();
        expect(letter?.payload.toString()).toBe(JSON.stringify(thing(bad, 0, 'kept')));
        await instance.deadLetters.replay(letter?.id as string);
        await eventually(async () => {
          const rows = await world.database.query<{ n: number }>('SELECT n FROM effect WHERE thing_id = $1 ORDER BY n', [bad]);
          expect(rows.map(({ n }) => n)).toEqual([0, 1]);
          expect(await world.count('parked_key')).toBe(0);
        });
        expect(await world.count('effect')).toBe(32);
      });
    });

    it('50,000 events go through with bounded memory', async () => {
      const total = 50_000;
      const keys = range(500).map(() => randomUUID());
      let handled = 0;
      const last = new Map<string, number>();
      let inversions = 0;
      await world.start(
        [
          recorder('one', ({ data }) => {
            handled++;
            if (data.n < (last.get(data.thingId) ?? -1)) inversions++;
            last.set(data.thingId, data.n);
          }),
        ],
        { env: { CONSUMER_CONCURRENCY: '64' } },
      );
      await world.database.query(
        `INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload)
         SELECT 0, gen_random_uuid(), $1, $2, k.key, '', json_build_object('thingId', k.key, 'n', n, 'text', repeat('x', 200))::text
         FROM generate_series(0, $4::int - 1) AS n, unnest($3::text[]) AS k(key)`,
        [THING.topic, THING.type, keys, total / keys.length],
      );
      await world.database.query(
        `UPDATE outbox SET headers = json_build_object('content-type', 'application/json', 'ce_specversion', '1.0', 'ce_id', event_id, 'ce_source', 'urn:test', 'ce_type', type,
           'ce_subject', key, 'ce_partitionkey', key, 'ce_time', now(), 'ce_correlationid', event_id)::text`,
      );
      let peak = 0;
      const before = process.memoryUsage().rss;
      const sample = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 100);
      await eventually(() => expect(handled).toBeGreaterThanOrEqual(total), { timeoutMs: 580_000, everyMs: 200 });
      clearInterval(sample);
      expect(inversions).toBe(0);
      await eventually(async () => expect(await world.count('inbox')).toBe(total)); // the last ones are marked after their handler has returned
      expect((peak - before) / 1024 / 1024).toBeLessThan(500);
      await eventually(async () => expect(await world.count('outbox')).toBe(0));
    }, 600_000);
  });
}

function recorder(group: string, handle: (event: Thing, context: Parameters<TestHandler['handle']>[1]) => unknown): TestHandler {
  return {
    group,
    handle: async (event, context) => {
      await handle(event, context);
    },
  };
}

/** A handler of many events at once, or one whose commits are grouped. */
function committing(
  mode: 'batch' | 'grouped',
  work: (tx: Transaction, events: readonly Thing[], attempt: number) => Promise<void>,
): TestHandler {
  return {
    group: 'one',
    handle: (event, context) => context.once((tx) => work(tx, [event], context.attempt)),
    ...(mode === 'grouped'
      ? { commit: 'grouped' }
      : { handleBatch: (events, context) => context.once((tx) => work(tx, events, context.attempt)) }),
  };
}

function message(key: string, payload: Buffer, headers: Record<string, string>): OutgoingMessage {
  return { eventId: randomUUID(), topic: THING.topic, type: THING.type, key, headers, payload };
}

function withHeader(original: OutgoingMessage, name: string, value: string): OutgoingMessage {
  return { ...original, headers: { ...original.headers, [name]: value } };
}

/** Takes this many messages straight from the adapter. */
async function receive(instance: Instance, count: number): Promise<IncomingMessage[]> {
  const received: IncomingMessage[] = [];
  const active = await instance.adapter.subscribe(
    { group: 'one', topic: THING.topic },
    (incoming) => {
      received.push(incoming);
      return Promise.resolve('settled');
    },
    { maxInFlight: 100, onDown: (reason) => received.push(reason as never) },
  );
  await eventually(() => expect(received).toHaveLength(count));
  await active.close();
  return received;
}

function range(length: number): number[] {
  return Array.from({ length }, (_, index) => index);
}

function ascending(a: number, b: number): number {
  return a - b;
}
