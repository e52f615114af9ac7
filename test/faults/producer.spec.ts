import { expect, jest } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { IsInt, IsOptional, IsString, IsUUID } from 'class-validator';
import pg from 'pg';
import { DatabasePool } from '../../src/database/database-pool.js';
import { DefineEvent, EventTooLargeError } from '../../src/messaging/index.js';
import { Relay } from '../../src/messaging/outbox/relay.js';
import { MessageRejectedError } from '../../src/messaging/transport/broker-adapter.js';
import { Metrics } from '../../src/observability/metrics.js';
import { eventually } from '../support/eventually.js';
import { thing } from '../support/things.js';
import type { Instance } from '../support/world.js';
import { fault } from './fault.js';
import { inWorld, range, recorder } from './in-world.js';
import { RunningShop } from './running-shop.js';

/** What is out of the way with all of its key once the broker has refused it. */
@DefineEvent({ type: 'conformance.thing.parked', topic: 'conformance.thing', key: 'thingId', onPublishFailure: 'park' })
class ThingParked {
  @IsUUID() thingId!: string;
  @IsInt() n!: number;
  @IsOptional() @IsString() text?: string;
}

/** What alone is out of the way. */
@DefineEvent({ type: 'conformance.thing.skipped', topic: 'conformance.thing', key: 'thingId', onPublishFailure: 'skip' })
class ThingSkipped extends ThingParked {}

/** An event of a class, with data. */
const eventOf = (kind: typeof ThingParked, thingId: string, n: number): object => Object.assign(new kind(), { thingId, n });

/** Lets the broker refuse these events for their own fault, until the test mends it. */
function refuse(instance: Instance, isRefused: (payload: { thingId: string; n: number }) => boolean): { count(): number; mend(): void } {
  const { adapter } = instance;
  const publish = adapter.publish.bind(adapter);
  let refused = 0;
  adapter.publish = async (messages) => {
    const stopped = new Set<string>();
    const passing = messages.filter(({ key, payload }) => {
      if (stopped.has(key)) return false;
      if (!isRefused(JSON.parse(payload.toString()) as never)) return true;
      refused++;
      stopped.add(key);
      return false;
    });
    const outcomes = new Map((await publish(passing)).map((outcome, at) => [passing[at], outcome]));
    return messages.map((message) => (outcomes.has(message) ? outcomes.get(message) : new MessageRejectedError('refused by the test')));
  };
  return { count: () => refused, mend: () => (adapter.publish = publish) };
}

/** Has the relay read which keys are held just before it writes that one is: what it knows itself must outlast that. */
function pollWhileHolding(instance: Instance): { count(): number } {
  const pool = instance.app.get(DatabasePool);
  const query = pool.query.bind(pool);
  let polls = 0;
  jest.spyOn(pool, 'query').mockImplementation(async (text: string, values?: unknown[]) => {
    if (text.includes('INSERT INTO outbox_held_key')) {
      await instance.app.get(Relay).poll();
      polls++;
    }
    return query(text, values) as never;
  });
  return { count: () => polls };
}

fault('P1', 'a crash between publish and mark loses nothing and does nothing twice', { timeoutMs: 120_000 }, (broker) =>
  RunningShop.with(broker, {}, async (shop) => {
    await shop.startAndDieAt('relay.afterPublish', 'kill');
    const [left] = await shop.database.query<{ count: number }>('SELECT count(*)::int FROM outbox');
    if (broker !== 'postgres') expect(left?.count).toBeGreaterThan(0); // published, and still to be published for all that we know
    const healed = await shop.start();
    await shop.expectHealed(healed);
    if (broker === 'kafka' || broker === 'rabbitmq') expect(await shop.metric(healed, 'waybill_inbox_duplicates_total')).toBeGreaterThan(0);
  }),
);

fault('P1', 'a crash at any place of the relay, by exit and by kill, one after the other', { slow: true, timeoutMs: 300_000 }, (broker) =>
  RunningShop.with(broker, {}, async (shop) => {
    for (const failpoint of ['relay.afterRead', 'relay.afterPublish', 'relay.beforeDelete'])
      for (const how of ['exit', 'kill'] as const) await shop.startAndDieAt(failpoint, how);
    await shop.expectHealed(await shop.start());
  }),
);

fault(
  'P2',
  'a crash before the commit leaves neither order nor event, and the client that asks again gets one',
  { slow: ['rabbitmq', 'sqs'], timeoutMs: 120_000 },
  (broker) =>
    RunningShop.with(broker, {}, async (shop) => {
      await shop.startAndDieAt('order.beforeCommit', 'kill', { env: { ROLES: 'http' } });
      expect(await shop.database.query('SELECT id FROM orders')).toEqual([]);
      expect(await shop.database.query('SELECT id FROM outbox')).toEqual([]);
      expect(shop.history.summary()['place']).toMatchObject({ ok: 0, unknown: expect.any(Number) });
      await shop.expectHealed(await shop.start());
    }),
);

fault('P6', 'a row of an unknown topic holds its key, other keys flow, and it goes once the topic is known', {}, (broker) =>
  inWorld(broker, { OUTBOX_MAX_ATTEMPTS: '3' }, async (world) => {
    const seen = new Map<string, number[]>();
    const instance = await world.start([recorder(seen)]);
    const [bad, good] = [randomUUID(), randomUUID()];
    await world.database.query(
      `INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload) SELECT 0, gen_random_uuid(), 'nobody.knows', 'nobody.knows.happened', $1, '{}', '{}' FROM generate_series(1, 2)`,
      [bad],
    );
    await world.emit(instance, [thing(good, 0), thing(good, 1)]);
    await eventually(() => expect(seen.get(good)).toEqual([0, 1]));
    await eventually(async () => expect((await instance.status.outbox()).blockedKeys).toBe(1));
    const held = (): Promise<{ attempts: number; reason: string }[]> =>
      world.database.query('SELECT attempts, reason FROM outbox_held_key');
    await eventually(async () => expect((await held())[0]?.attempts).toBeGreaterThanOrEqual(3));
    expect((await held())[0]?.reason).toMatch(/nobody\.knows/);
    expect(await instance.app.get(Metrics).publishFailures.get()).toMatchObject({ values: [{ labels: { kind: 'message' } }] });
    expect(await world.count('outbox')).toBe(2); // halt: it stays, whatever the attempts
    await instance.stop();

    const known = await world.start([recorder(seen), { ...recorder(seen), topic: 'nobody.knows', type: 'nobody.knows.happened' }]);
    await eventually(async () => expect(await world.count('outbox')).toBe(0));
    await eventually(async () => expect((await known.status.outbox()).blockedKeys).toBe(0));
    expect(await world.count('outbox_held_key')).toBe(0);
  }),
);

fault(
  'P6',
  'policy park: nothing of the key is published past the row that stepped aside',
  { on: ['kafka', 'rabbitmq', 'sqs'] },
  (broker) =>
    inWorld(broker, { OUTBOX_MAX_ATTEMPTS: '1', OUTBOX_BATCH_SIZE: '16' }, async (world) => {
      const seen = new Map<string, number[]>();
      const instance = await world.start([recorder(seen, { type: 'conformance.thing.parked' })]);
      const [bad, good] = [randomUUID(), randomUUID()];
      const refusal = refuse(instance, ({ thingId, n }) => thingId === bad && n === 1);
      await world.emit(
        instance,
        [...range(8).map((n) => eventOf(ThingParked, bad, n)), ...range(8).map((n) => eventOf(ThingParked, good, n))],
        true,
      );
      await eventually(() => expect(seen.get(good)).toEqual(range(8)));
      await eventually(async () => expect(await world.count('outbox_parked')).toBe(7));
      expect(refusal.count()).toBe(1);
      refusal.mend();
      await world.emit(instance, [eventOf(ThingParked, bad, 8)]);
      await eventually(async () => expect(await world.count('outbox_parked')).toBe(8)); // a later one follows
      await eventually(() => expect(seen.get(bad)).toEqual([0])); // it is published, and on its way
      // Back into their old place, as the runbook says.
      await world.database.query(
        `WITH back AS (DELETE FROM outbox_parked WHERE topic = 'conformance.thing' AND key = $1 RETURNING *)
       INSERT INTO outbox (lane, id, event_id, topic, type, key, headers, payload, created_at)
       SELECT lane, id, event_id, topic, type, key, headers, payload, created_at FROM back`,
        [bad],
      );
      await eventually(() => expect(seen.get(bad)).toEqual(range(9)));
    }),
);

fault('P6', 'policy skip: the one row steps aside, the rest of its key goes on in order', { on: ['kafka', 'rabbitmq', 'sqs'] }, (broker) =>
  inWorld(broker, { OUTBOX_MAX_ATTEMPTS: '2', OUTBOX_BATCH_SIZE: '16' }, async (world) => {
    const seen = new Map<string, number[]>();
    const instance = await world.start([recorder(seen, { type: 'conformance.thing.skipped' })]);
    const bad = randomUUID();
    const refusal = refuse(instance, ({ n }) => n === 2);
    const polls = pollWhileHolding(instance);
    await world.emit(
      instance,
      range(8).map((n) => eventOf(ThingSkipped, bad, n)),
      true,
    );
    await eventually(() => expect(seen.get(bad)).toEqual([0, 1, 3, 4, 5, 6, 7]));
    expect(refusal.count()).toBe(2);
    expect(polls.count()).toBe(1);
    expect(await world.database.query('SELECT policy FROM outbox_parked')).toEqual([{ policy: 'skip' }]);
  }),
);

fault('P6', 'policy halt: what was read ahead does not overtake the row that was refused', { on: ['kafka', 'rabbitmq', 'sqs'] }, (broker) =>
  inWorld(broker, { OUTBOX_BATCH_SIZE: '32' }, async (world) => {
    const seen = new Map<string, number[]>();
    const instance = await world.start([recorder(seen)]);
    const bad = randomUUID();
    const refusal = refuse(instance, ({ n }) => n === 1);
    await world.emit(
      instance,
      range(8).map((n) => thing(bad, n)),
      true,
    );
    await eventually(async () => expect((await instance.status.outbox()).blockedKeys).toBe(1));
    await eventually(() => expect(refusal.count()).toBeGreaterThanOrEqual(2));
    await eventually(() => expect(seen.get(bad)).toEqual([0])); // it is published, and its consumer may still be starting
    refusal.mend();
    await eventually(() => expect(seen.get(bad)).toEqual(range(8)));
    await eventually(async () => expect((await instance.status.outbox()).blockedKeys).toBe(0));
  }),
);

fault('P7', 'an event over the limit is refused where it is emitted, with its transaction', {}, (broker) =>
  inWorld(broker, {}, async (world) => {
    const seen = new Map<string, number[]>();
    const instance = await world.start([recorder(seen)]);
    const key = randomUUID();
    const tooLarge = thing(key, 1, 'x'.repeat(instance.adapter.maxMessageBytes + 1));
    await world.database.query('CREATE TABLE business (n int)');
    const transaction = instance.database.transaction(async (tx) => {
      await tx.$executeRaw`INSERT INTO business VALUES (1)`;
      instance.outbox.emit(tx, thing(key, 0));
      instance.outbox.emit(tx, tooLarge);
    });
    await expect(transaction).rejects.toThrow(EventTooLargeError);
    expect([await world.count('business'), await world.count('outbox')]).toEqual([0, 0]);
    await world.emit(instance, [thing(key, 2)]);
    await eventually(() => expect(seen.get(key)).toEqual([2]));
    expect(await world.count('outbox_held_key')).toBe(0);
  }),
);

fault('P10', 'three relays share the lanes, publish each row once, and one that goes leaves nothing behind', {}, (broker) =>
  inWorld(broker, { OUTBOX_LEASE_MS: '1000' }, async (world) => {
    const seen = new Map<string, number[]>();
    const keys = range(60).map(() => randomUUID());
    const relays = [await world.start([recorder(seen)]), await world.start([recorder(seen)]), await world.start([recorder(seen)])];
    const owners = async (): Promise<Set<string | null>> =>
      new Set((await (relays[0] as Instance).status.outbox()).lanes.map(({ owner }) => owner));
    await eventually(async () => expect((await owners()).size).toBe(3));
    const emitAll = (from: number, to: number): Promise<unknown> =>
      Promise.all(
        keys.map(async (key, at) => {
          for (let n = from; n < to; n++) await world.emit(relays[at % 2] as Instance, [thing(key, n)]);
        }),
      );
    await emitAll(0, 5);
    await eventually(() => expect([...seen.values()].flat()).toHaveLength(300));
    // An event may be here before its proof is, which is what counts it and lets its row go.
    await eventually(async () => {
      const published = await Promise.all(relays.map(async ({ app }) => sum((await app.get(Metrics).published.get()).values)));
      for (const rows of published) expect(rows).toBeGreaterThan(0);
      expect(published.reduce((total, rows) => total + rows)).toBe(300); // each once
    });
    const more = emitAll(5, 10);
    await relays[2]?.stop();
    await more;
    await eventually(() => expect([...seen.values()].flat()).toHaveLength(600));
    for (const numbers of seen.values()) expect(numbers).toEqual(range(10));
    await eventually(async () => expect(await world.count('outbox')).toBe(0));
  }),
);

fault('P12', 'a row whose transaction took its id first and commits last is not skipped', {}, (broker) =>
  inWorld(broker, { OUTBOX_LANES: '1' }, async (world) => {
    const seen = new Map<string, number[]>();
    const instance = await world.start([recorder(seen)]);
    const [early, late] = [randomUUID(), randomUUID()];
    // The id is given in the same message as the COMMIT: what holds that up is a constraint that is checked then.
    await world.database.query('CREATE TABLE slow_commit (n int)');
    await world.database.query(
      `CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$`,
    );
    await world.database.query(
      `CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow_commit DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_commit()`,
    );
    const holder = new pg.Client({ connectionString: world.database.url });
    await holder.connect();
    await holder.query('SELECT pg_advisory_lock(4711)');
    const long = instance.database.transaction(async (tx) => {
      await tx.$executeRaw`INSERT INTO slow_commit VALUES (1)`;
      instance.outbox.emit(tx, thing(early, 0));
    });
    await eventually(async () => {
      const waiting = await world.database.query(`SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted`);
      expect(waiting).toHaveLength(1); // the row has its id by now
    });
    await world.emit(
      instance,
      range(5).map((n) => thing(late, n)),
    );
    await eventually(() => expect(seen.get(late)).toEqual(range(5)));
    expect(seen.get(early)).toBeUndefined();
    await holder.end();
    await long;
    await eventually(() => expect(seen.get(early)).toEqual([0]));
    await eventually(async () => expect(await world.count('outbox')).toBe(0)); // an event may be here before its proof is
  }),
);

function sum(values: readonly { value: number }[]): number {
  return values.reduce((total, { value }) => total + value, 0);
}
