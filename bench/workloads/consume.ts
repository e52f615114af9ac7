import pg from 'pg';
import { checkEffects, fillOutbox, keysOf, perEvent, prepareEffects, until, type Bench, type Stage } from '../lib/bench.js';
import { kafkaOf, startBaseline, TUTORIAL } from '../lib/baseline.js';
import { THING_TOPIC } from '../lib/effect.js';
import type { Subject } from '../lib/subject.js';

const WORKLOAD = 'consume';
export const KEYS = 500;

/** The ways to commit, each a group of its own. */
export const MODES = [
  ['single', 'handleMessage'],
  ['grouped', 'handleMessage, commits grouped'],
  ['batch', 'handleBatch'],
] as const;

/** The same with two instances of the application, which share the partitions or lanes. */
const INSTANCES = [
  ['singles', 'single', 'handleMessage, two instances'],
  ['groupeds', 'grouped', 'handleMessage, commits grouped, two instances'],
] as const;

/** A handler that waits for something else before it commits, as a call to a payment provider does; with its share of the events. */
const WAITING_MS = 5;
const WAITING = [
  { group: 'serial', name: 'a handler that waits 5 ms, one event at a time', env: { CONSUMER_CONCURRENCY: '1' }, share: 50 },
  { group: 'parallel', name: 'a handler that waits 5 ms, keys in parallel', env: {}, share: 5 },
] as const;

/** Events that wait at the broker, until the group has remembered each and made one update for it. */
export async function consume(bench: Bench): Promise<void> {
  for (const broker of bench.brokers) {
    const own = bench.on([broker]);
    await own.stage(broker, async (stage) => {
      const keys = keysOf(KEYS);
      const groups = [...[...MODES, ...INSTANCES].map(([group]) => group), ...WAITING.map(({ group }) => group)];
      await prepareEffects(stage.database, [...groups, 'tutorial', 'bare'], keys);
      await fillBroker(own, stage, groups, keys);
      for (const [mode, name] of MODES)
        await timed(own, stage, { group: mode, name }, () =>
          stage.start('subjects/waybill.ts', { BENCH_GROUPS: mode, BENCH_MODE: mode, ROLES: 'consumers' }),
        );
      for (const [group, mode, name] of INSTANCES)
        await timed(own, stage, { group, name, instances: 2 }, () =>
          stage.start('subjects/waybill.ts', { BENCH_GROUPS: group, BENCH_MODE: mode, ROLES: 'consumers' }),
        );
      for (const { group, name, env, share } of WAITING) {
        const some = { warmUp: Math.ceil(own.warmUp / share), events: Math.ceil(own.events / share) };
        await timed(own, stage, { group, name, ...some }, () =>
          stage.start('subjects/waybill.ts', {
            BENCH_GROUPS: group,
            BENCH_HANDLER_MS: String(WAITING_MS),
            ROLES: 'consumers',
            ...env,
          }),
        );
      }
      if (broker !== 'kafka') return;
      await bare(own, stage, `${stage.namespace}.${THING_TOPIC}`);
      const fewer = { warmUp: Math.ceil(own.warmUp / 10), events: Math.ceil(own.events / 10) };
      await timed(own, stage, { group: 'tutorial', name: TUTORIAL, ...fewer }, () =>
        startBaseline(stage, 'consumer', { BASELINE_GROUP: 'tutorial', BASELINE_TOPIC: `${stage.namespace}.${THING_TOPIC}` }),
      );
    });
  }
}

/** Publishes the events for all groups, as their application would. */
export async function fillBroker(bench: Bench, stage: Stage, groups: readonly string[], keys: readonly string[]): Promise<void> {
  const subject = await stage.start('subjects/waybill.ts', { BENCH_GROUPS: groups.join(','), ROLES: 'relay' });
  await fillOutbox(stage.database, keys, bench.warmUp + bench.events);
  await until(stage.database, 'NOT EXISTS (SELECT 1 FROM outbox)');
  await subject.stop();
}

/** From the end of the warm-up to the last effect, so that joining a group is not counted. */
export async function timed(
  bench: Bench,
  stage: Stage,
  {
    group,
    name,
    warmUp = bench.warmUp,
    events = bench.events,
    instances = 1,
  }: { readonly group: string; readonly name: string; readonly warmUp?: number; readonly events?: number; readonly instances?: number },
  start: () => Promise<Pick<Subject, 'pid' | 'stop'>>,
): Promise<void> {
  const subjects = await Promise.all(Array.from({ length: instances }, start));
  const handled = '(SELECT sum(handled) FROM bench_effect WHERE group_name = $1)';
  await until(stage.database, `${handled} >= ${warmUp}`, [group]);
  let [row] = await stage.database.query<{ done: number }>(`SELECT ${handled}::int AS done`, [group]);
  const before = row?.done ?? 0;
  const cost = await stage.cost(subjects, () => until(stage.database, `${handled} >= ${warmUp + events}`, [group]));
  [row] = await stage.database.query<{ done: number }>(`SELECT ${handled}::int AS done`, [group]);
  const done = (row?.done ?? 0) - before;
  if (events === bench.events) await checkEffects(bench, stage.database, group, warmUp + events);
  else {
    const sql = 'SELECT sum(disorder)::int AS disorder FROM bench_effect WHERE group_name = $1';
    const [found] = await stage.database.query(sql, [group]);
    bench.check(`the order in which group ${group} has handled its part`, found, { disorder: 0 });
  }
  await Promise.all(subjects.map((subject) => subject.stop()));
  bench.add({
    workload: WORKLOAD,
    name,
    broker: stage.broker,
    value: done / cost.seconds,
    unit: 'events/s',
    ...heldAgainst(name),
    ...perEvent(cost, done),
  });
}

function heldAgainst(name: string): { baseline?: string; limit?: string } {
  const [serial, parallel] = WAITING;
  if (name === TUTORIAL || name === serial.name) return {};
  if (name === parallel.name) return { baseline: serial.name };
  return { baseline: TUTORIAL, limit: 'bare client, a batch a transaction' };
}

/** What Kafka and PostgreSQL give to a client that only takes batches and writes them, remembering each event. */
async function bare(bench: Bench, stage: Stage, topic: string): Promise<void> {
  const pool = new pg.Pool({ connectionString: stage.database.url, max: 4 });
  const consumer = kafkaOf(stage).consumer({ groupId: `${stage.namespace}.bare` });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const all = bench.warmUp + bench.events;
  let done = 0;
  let start = 0;
  let end: () => void;
  const ended = new Promise<void>((resolve) => (end = resolve));
  await consumer.run({
    partitionsConsumedConcurrently: 4,
    eachBatch: async ({ batch }) => {
      start ||= performance.now();
      const events = batch.messages.map(({ headers, value }) => ({
        id: String(headers?.['ce_id']),
        ...(JSON.parse(String(value)) as { thingId: string; n: number }),
      }));
      await pool.query(
        `WITH e AS (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS e(id, key, n)),
         new AS (INSERT INTO inbox (group_name, event_id) SELECT 'bare', id FROM e ON CONFLICT DO NOTHING RETURNING event_id)
         UPDATE bench_effect SET handled = handled + came.count, last = came.last
         FROM (SELECT key, count(*)::int AS count, max(n) AS last FROM e JOIN new ON event_id = id GROUP BY key) AS came
         WHERE group_name = 'bare' AND bench_effect.key = came.key`,
        [events.map(({ id }) => id), events.map(({ thingId }) => thingId), events.map(({ n }) => n)],
      );
      done += events.length;
      if (done >= all) end();
    },
  });
  await ended;
  const seconds = (performance.now() - start) / 1000;
  await consumer.disconnect();
  await pool.end();
  await checkEffects(bench, stage.database, 'bare', all);
  bench.add({
    workload: WORKLOAD,
    name: 'bare client, a batch a transaction',
    broker: 'kafka',
    value: all / seconds,
    unit: 'events/s',
  });
}
