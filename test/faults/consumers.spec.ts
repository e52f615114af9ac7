import { afterAll, expect } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { startServer, type Server } from '../../scripts/servers/index.mjs';
import { attemptEvents } from '../../src/messaging/consumer/attempt.js';
import { singleOnce } from '../../src/messaging/consumer/once.js';
import { Inbox } from '../../src/messaging/consumer/inbox.js';
import { Metrics } from '../../src/observability/metrics.js';
import { eventually, gate } from '../support/eventually.js';
import { eventMessage, thing, THING } from '../support/things.js';
import type { Instance, TestHandler } from '../support/world.js';
import { fault } from './fault.js';
import { inWorld, range, recorder, remember } from './in-world.js';
import { RunningShop } from './running-shop.js';

let ownPostgres: Promise<Server> | undefined;
afterAll(async () => (await ownPostgres)?.dispose());

/** A PostgreSQL that these tests may stop. */
async function stoppable(): Promise<{ server: Server; url: string }> {
  const server = await (ownPostgres ??= startServer('postgres'));
  return { server, url: server.env['DATABASE_URL'] as string };
}

async function valueOf(instance: Instance, metric: 'inboxDuplicates' | 'unhandled' | 'attempts' | 'consumerRebuilds'): Promise<number> {
  const { values } = await instance.app.get(Metrics)[metric].get();
  return values.reduce((total, { value }) => total + value, 0);
}

fault('C1', 'an event that comes three times has one effect, and the copies are counted', {}, (broker) =>
  inWorld(broker, {}, async (world) => {
    await world.database.query('CREATE TABLE effect (event_id uuid)');
    const instance = await world.start([
      {
        group: 'one',
        handle: async (event, { once }) => once(async (tx) => void (await tx.$executeRaw`INSERT INTO effect VALUES (${event.id}::uuid)`)),
      },
    ]);
    const events = range(5).map((n) => eventMessage(randomUUID(), n));
    for (let copy = 0; copy < 3; copy++) expect(await instance.adapter.publish(events)).toEqual(events.map(() => undefined));
    // SQS itself drops what it has seen within five minutes; every other broker delivers the copies.
    await eventually(async () => expect(await valueOf(instance, 'inboxDuplicates')).toBe(broker === 'sqs' ? 0 : 10));
    await eventually(async () => expect((await instance.status.groups()).map(({ lag }) => lag)).toEqual([0]));
    expect(await world.count('effect')).toBe(5);
    expect(await world.deadLetters()).toEqual([]);
  }),
);

fault(
  'C2',
  'of two attempts that run at the same time one has its effect, and the other waits for it and rolls back',
  { on: ['any'] },
  () =>
    inWorld('postgres', {}, async (world) => {
      await world.database.query('CREATE TABLE effect (attempt int)');
      const instances = [await world.start([]), await world.start([])] as const;
      const race = async (firstFails: boolean): Promise<string[]> => {
        const event = { id: randomUUID(), type: THING.type, correlationid: 'c' } as never;
        const [inside, mayCommit] = [gate(), gate()];
        const attempt = (n: 0 | 1, work: () => Promise<void>): ReturnType<typeof attemptEvents> => {
          const handle: TestHandler['handle'] = async (_event, { once }) =>
            once(async (tx) => {
              await tx.$executeRaw`INSERT INTO effect VALUES (${n})`;
              await work();
            });
          const handler = { name: 'Twin', group: 'one', ...THING, order: 'key', timeoutMs: undefined, handle: handle as never } as const;
          const request = {
            group: 'one',
            handler,
            events: [event],
            attempt: 1,
            timeoutMs: 10_000,
            signal: new AbortController().signal,
          } as const;
          const { app, database } = instances[n];
          const inbox = app.get(Inbox);
          return attemptEvents(request, { database, inbox, onceIn: singleOnce(database, inbox, 'one') });
        };
        const first = attempt(0, async () => {
          inside.open();
          await mayCommit.opened;
          if (firstFails) throw new Error('the first one fails');
        });
        await inside.opened;
        const second = attempt(1, () => Promise.resolve());
        await eventually(async () => {
          const waiting = await world.database.query(
            `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO inbox%'`,
          );
          expect(waiting).toHaveLength(1); // it has met its twin
        });
        mayCommit.open();
        return (await Promise.all([first, second])).map(({ kind }) => kind);
      };
      expect(await race(false)).toEqual(['handled', 'duplicate']);
      expect(await world.database.query('SELECT attempt FROM effect')).toEqual([{ attempt: 0 }]);
      expect(await race(true)).toEqual(['failed', 'handled']);
      expect(await world.database.query('SELECT attempt FROM effect ORDER BY attempt')).toEqual([{ attempt: 0 }, { attempt: 1 }]);
    }),
);

fault('C5', 'data against the schema become a dead letter at once, which names the fields', {}, (broker) =>
  inWorld(broker, {}, async (world) => {
    const seen = new Map<string, number[]>();
    const instance = await world.start([recorder(seen)]);
    const [missing, wrong, extra, good] = range(4).map(() => eventMessage(randomUUID(), 1));
    const changed = [
      { ...missing, payload: Buffer.from(JSON.stringify({ thingId: missing?.key })) },
      { ...wrong, payload: Buffer.from(JSON.stringify({ thingId: 'no uuid', n: 'one' })) },
      { ...extra, payload: Buffer.from(JSON.stringify({ thingId: extra?.key, n: 1, later: true })) },
      good,
    ] as NonNullable<typeof good>[];
    expect(await instance.adapter.publish(changed)).toEqual(changed.map(() => undefined));
    await eventually(() => expect(seen.get(good?.key as string)).toEqual([1]));
    await eventually(() => expect(seen.get(extra?.key as string)).toEqual([1])); // a field more is what a newer version adds
    await eventually(async () => expect(await world.deadLetters()).toHaveLength(2));
    const letters = (await world.deadLetters()) as unknown as { key: string; reason: string; attempts: number; error: string }[];
    for (const letter of letters) expect(letter).toMatchObject({ reason: 'invalid', attempts: 1 });
    expect(letters.find(({ key }) => key === missing?.key)?.error).toMatch(/\bn\b.*integer/);
    expect(letters.find(({ key }) => key === wrong?.key)?.error).toMatch(/thingId.*UUID/);
  }),
);

fault('C6', 'a type that nobody handles is counted and acknowledged', {}, (broker) =>
  inWorld(broker, {}, async (world) => {
    const seen = new Map<string, number[]>();
    const instance = await world.start([recorder(seen)]);
    const unknown = { ...eventMessage(randomUUID(), 1) };
    const headers = { ...unknown.headers, ce_type: 'conformance.thing.forgotten' };
    expect(await instance.adapter.publish([{ ...unknown, headers }])).toEqual([undefined]);
    await eventually(async () => expect(await valueOf(instance, 'unhandled')).toBe(1));
    await eventually(async () => expect((await instance.status.groups()).map(({ lag }) => lag)).toEqual([0]));
    expect(await world.deadLetters()).toEqual([]);
  }),
);

fault('R8', 'with one message in hand at a time, types that nobody handles do not stop the queue', {}, (broker) =>
  inWorld(broker, { CONSUMER_CONCURRENCY: '1', CONSUMER_MAX_IN_FLIGHT: '1' }, async (world) => {
    const seen = new Map<string, number[]>();
    const instance = await world.start([recorder(seen)]);
    const unknown = range(20).map((n) => {
      const message = eventMessage(randomUUID(), n);
      return { ...message, headers: { ...message.headers, ce_type: 'conformance.thing.forgotten' } };
    });
    const known = eventMessage(randomUUID(), 7);
    expect(await instance.adapter.publish([...unknown, known])).toEqual([...unknown, known].map(() => undefined));
    await eventually(() => expect(seen.get(known.key)).toEqual([7]));
    await eventually(async () => expect(await valueOf(instance, 'unhandled')).toBe(20));
  }),
);

fault('C9', 'a handler that hangs is ended by its time-out, its slot is free, and what it commits later is refused', {}, (broker) =>
  inWorld(
    broker,
    { HANDLER_TIMEOUT_MS: '300', RETRY_MAX_ATTEMPTS: '2', CONSUMER_CONCURRENCY: '1', CONSUMER_MAX_IN_FLIGHT: '10' },
    async (world) => {
      await world.database.query('CREATE TABLE effect (n int)');
      const seen = new Map<string, number[]>();
      const late = gate();
      const refused: string[] = [];
      const aborted: string[] = [];
      const [hanging, zombie, good] = [randomUUID(), randomUUID(), randomUUID()];
      const instance = await world.start([
        {
          group: 'one',
          handle: async ({ data }, { once, signal }) => {
            if (data.thingId === good) return remember(seen, data);
            signal.addEventListener('abort', () => aborted.push((signal.reason as Error).name));
            if (data.thingId === hanging) return new Promise(() => undefined);
            await late.opened;
            await once(async (tx) => void (await tx.$executeRaw`INSERT INTO effect VALUES (1)`)).catch((error: Error) =>
              refused.push(error.name),
            );
          },
        },
      ]);
      await world.emit(instance, [thing(hanging, 0), thing(zombie, 0), thing(good, 0)]);
      await eventually(() => expect(seen.get(good)).toEqual([0])); // the one slot is free again
      await eventually(async () => expect(await world.deadLetters()).toHaveLength(2));
      expect(aborted).toEqual(Array(4).fill('HandlerTimeoutError')); // two attempts each
      for (const { attempts, reason } of await world.deadLetters())
        expect({ attempts, reason }).toEqual({ attempts: 2, reason: 'attempts_exhausted' });
      late.open();
      await eventually(() => expect(refused).toEqual(['HandlerAbortedError', 'HandlerAbortedError']));
      expect(await world.count('effect')).toBe(0);
    },
  ),
);

fault(
  'C10',
  'SIGTERM lets the handler end, commits, acknowledges, and exits with 0',
  { slow: ['rabbitmq', 'sqs'], timeoutMs: 120_000 },
  (broker) =>
    RunningShop.with(broker, {}, async (shop) => {
      const app = await shop.start();
      const id = await shop.place(app, 'tok_slow'); // its charge is booked at once and answered after three seconds
      const charges = (): Promise<unknown[]> => shop.database.query('SELECT 1 FROM sandbox_ledger_entry');
      await eventually(async () => expect(await charges()).toHaveLength(1));
      expect(await shop.database.query('SELECT 1 FROM payment')).toEqual([]); // the handler is in the middle
      expect(await app.end('SIGTERM')).toBe(0);
      expect(await shop.database.query('SELECT status FROM payment')).toEqual([{ status: 'captured' }]);
      expect(app.output).toContain('"complete":true');
      const after = await shop.start();
      await shop.ends(after, id, 'confirmed');
      await shop.expectHealed(after);
      expect(after.output).not.toMatch(/"consumer":"CapturePaymentWhenStockReserved"/); // it was acknowledged: nobody did it again
    }),
);

fault(
  'C11',
  'a crash before or after the commit of an effect lets it happen once',
  { slow: ['rabbitmq', 'sqs'], timeoutMs: 120_000 },
  (broker) =>
    RunningShop.with(broker, {}, async (shop) => {
      for (const failpoint of ['consumer.beforeCommit', 'consumer.afterCommit']) await shop.startAndDieAt(failpoint, 'kill', { orders: 3 });
      await shop.expectHealed(await shop.start());
    }),
);

fault(
  'C11',
  'a crash at every place of a consumer, by exit and by kill, one after the other',
  { slow: true, timeoutMs: 400_000 },
  (broker) =>
    RunningShop.with(broker, {}, async (shop) => {
      for (const failpoint of [
        'order.afterCommit',
        'consumer.beforeCommit',
        'consumer.afterCommit',
        'consumer.beforeAck',
        'park.afterWrite',
      ])
        for (const how of ['exit', 'kill'] as const)
          await shop.startAndDieAt(failpoint, how, { token: failpoint === 'park.afterWrite' ? 'tok_flaky' : 'tok_ok' });
      await shop.expectHealed(await shop.start());
    }),
);

fault(
  'C12',
  'without the database nothing is acknowledged, counted or given up, and all goes on when it is back',
  { timeoutMs: 120_000 },
  async (broker) => {
    const { server, url } = await stoppable();
    await inWorld(
      broker,
      {},
      async (world) => {
        const seen = new Map<string, number[]>();
        const attempts = new Set<number>();
        const waiting = new Set<string>();
        const outage = gate();
        let lost = 0;
        const instance = await world.start([
          {
            group: 'one',
            handle: async ({ data }, { attempt, once }) => {
              attempts.add(attempt);
              if (data.n === 10) {
                waiting.add(data.thingId);
                await outage.opened;
              }
              try {
                await once(async () => remember(seen, data));
              } catch (error) {
                lost++;
                throw error;
              }
            },
          },
        ]);
        const keys = range(5).map(() => randomUUID());
        const emitAll = (from: number, to: number): Promise<void> =>
          world.emit(
            instance,
            range(to - from).flatMap((n) => keys.map((key) => thing(key, from + n))),
            true,
          );
        await emitAll(0, 20);
        await eventually(() => expect(waiting.size).toBe(5));
        await server.stop();
        outage.open();
        await eventually(() => expect(lost).toBeGreaterThanOrEqual(5)); // so the database was missed by handlers
        await expect(emitAll(20, 21)).rejects.toThrow();
        if (broker !== 'postgres') instance.status.assertBroker(); // the broker itself is well
        await server.start();
        await emitAll(21, 40);
        await eventually(() => expect([...seen.values()].flat()).toHaveLength(5 * 39), { timeoutMs: 60_000 });
        for (const key of keys) expect(seen.get(key)).toEqual([...range(20), ...range(19).map((n) => 21 + n)]);
        expect([...attempts]).toEqual([1]);
        expect(await world.deadLetters()).toEqual([]);
        expect(await world.count('parked_event')).toBe(0);
      },
      url,
    );
  },
);
