import { expect } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { DeadLetterNotOpenError, NonRetryableError } from '../../src/messaging/index.js';
import { eventually } from '../support/eventually.js';
import { thing } from '../support/things.js';
import { fault } from './fault.js';
import { inWorld, range, recorder, remember } from './in-world.js';
import { RunningShop } from './running-shop.js';

fault(
  'D1',
  'while the dead letter cannot be written the event is not acknowledged, other keys go on, and it is there afterwards',
  {},
  (broker) =>
    inWorld(broker, {}, async (world) => {
      const seen = new Map<string, number[]>();
      const [poison, good] = [randomUUID(), randomUUID()];
      let tries = 0;
      const instance = await world.start([
        {
          group: 'one',
          handle: ({ data }) => {
            if (data.thingId === poison && data.n === 0) {
              tries++;
              throw new NonRetryableError('never');
            }
            remember(seen, data);
            return Promise.resolve();
          },
        },
      ]);
      await world.database.query(`
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no dead letter today'; END $$;
      CREATE TRIGGER refuse BEFORE INSERT ON dead_letter FOR EACH ROW EXECUTE FUNCTION refuse();`);
      await world.emit(instance, [thing(poison, 0, 'kept'), thing(poison, 1), ...range(5).map((n) => thing(good, n))]);
      await eventually(() => expect(seen.get(good)).toEqual(range(5)));
      await eventually(() => expect(tries).toBeGreaterThanOrEqual(3)); // it is tried to be written, again and again
      expect(await world.deadLetters()).toEqual([]);
      expect(seen.get(poison)).toBeUndefined();
      expect((await instance.status.groups()).map(({ lag }) => lag)).not.toEqual([0]); // the broker still has it

      await world.database.query('DROP TRIGGER refuse ON dead_letter');
      await eventually(async () => expect(await world.deadLetters()).toHaveLength(1));
      const [letter] = await world.deadLetters();
      expect(letter).toMatchObject({ key: poison, attempts: 1, reason: 'non_retryable' });
      expect(letter?.payload.toString()).toBe(JSON.stringify(thing(poison, 0, 'kept')));
      await eventually(async () => expect(await world.count('parked_event')).toBe(1)); // its successor waits behind it
      await eventually(async () => expect((await instance.status.groups()).map(({ lag }) => lag)).toEqual([0]));
    }),
);

fault('D2', 'a crash between dead letter and acknowledgement leaves one', { slow: ['rabbitmq', 'sqs'], timeoutMs: 120_000 }, (broker) =>
  RunningShop.with(broker, { RETRY_MAX_ATTEMPTS: '1' }, async (shop) => {
    await shop.startAndDieAt('deadLetter.afterWrite', 'kill', { token: 'tok_broken', orders: 1 });
    expect(await shop.database.query('SELECT attempts FROM dead_letter')).toEqual([{ attempts: 1 }]);
    const healed = await shop.start();
    await shop.place(healed);
    await shop.expectHealed(healed, { deadLetters: 1 });
  }),
);

fault(
  'D2',
  'a crash after the writes of dead letter, parking and replay, by exit and by kill',
  { slow: true, timeoutMs: 300_000 },
  (broker) =>
    RunningShop.with(broker, {}, async (shop) => {
      for (const how of ['exit', 'kill'] as const)
        await shop.startAndDieAt('deadLetter.afterWrite', how, { token: 'tok_broken', orders: 1 });
      let app = await shop.start();
      await eventually(async () => expect(await app.all('/ops/dead-letters')).toHaveLength(2));
      const letters = await app.all('/ops/dead-letters');
      await app.end('SIGTERM');
      for (const how of ['exit', 'kill'] as const) {
        app = await shop.start({ FAIL_AT: `replay.afterWrite:${how}` });
        await app.post(`/ops/dead-letters/${letters.pop()?.['id']}/replay`).catch(() => undefined);
        expect(await app.ended()).toBe(how === 'kill' ? 'SIGKILL' : 70);
      }
      app = await shop.start();
      // Written is written: each replay goes on, fails again, and is the same dead letter.
      await eventually(async () => {
        const rows = await shop.database.query('SELECT state, replays, count(*)::int FROM dead_letter GROUP BY 1, 2');
        expect(rows).toEqual([{ state: 'open', replays: 1, count: 2 }]);
      });
      await shop.expectHealed(app, { deadLetters: 2 });
    }),
);

fault('D3', 'of two operators who replay at once one is told no, and the effect happens once', {}, (broker) =>
  inWorld(broker, { RETRY_MAX_ATTEMPTS: '1' }, async (world) => {
    await world.database.query('CREATE TABLE effect (n int)');
    let broken = true;
    const handler = {
      group: 'one',
      handle: async ({ data }, { once }) => {
        if (broken) throw new Error('broken');
        await once(async (tx) => void (await tx.$executeRaw`INSERT INTO effect VALUES (${data.n})`));
      },
    } satisfies Parameters<typeof world.start>[0][number];
    const instances = [await world.start([handler]), await world.start([handler])] as const;
    await world.emit(
      instances[0],
      range(10).map((n) => thing(randomUUID(), n)),
    );
    await eventually(async () => expect(await world.deadLetters()).toHaveLength(10));
    broken = false;
    const letters = await world.deadLetters();
    const outcomes = await Promise.allSettled(letters.flatMap(({ id }) => instances.map(({ deadLetters }) => deadLetters.replay(id))));
    const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
    expect(refused).toHaveLength(10);
    for (const reason of refused) expect(reason).toBeInstanceOf(DeadLetterNotOpenError);
    await eventually(async () => expect(await world.count('effect')).toBe(10));
    await eventually(async () => {
      const rows = await world.database.query('SELECT DISTINCT state, replays FROM dead_letter');
      expect(rows).toEqual([{ state: 'replayed', replays: 1 }]);
    });
    expect(await world.count('effect')).toBe(10);
  }),
);

fault('D4', 'a replay does not reach the groups that had no trouble', {}, (broker) =>
  inWorld(broker, { RETRY_MAX_ATTEMPTS: '1' }, async (world) => {
    const key = randomUUID();
    const seen = { one: new Map<string, number[]>(), two: 0 };
    let broken = true;
    const instance = await world.start([
      recorder(seen.one, {
        handle: async ({ data }) => {
          if (broken) throw new Error('broken');
          remember(seen.one, data);
          return Promise.resolve();
        },
      }),
      { group: 'two', handle: () => Promise.resolve(void seen.two++) },
    ]);
    await world.emit(instance, [thing(key, 0)]);
    await eventually(async () => expect(await world.deadLetters()).toMatchObject([{ group: 'one' }]));
    await eventually(() => expect(seen.two).toBe(1));
    broken = false;
    await instance.deadLetters.replay((await world.deadLetters())[0]?.id as string);
    await eventually(() => expect(seen.one.get(key)).toEqual([0]));
    await eventually(async () => expect(await world.deadLetters()).toMatchObject([{ state: 'replayed' }]));
    expect(seen.two).toBe(1);
  }),
);
