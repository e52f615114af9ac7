import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { bucketOf } from '../../src/messaging/event/key-hash.js';
import { commitBacklog, keysOf, perEvent, until, untilDrained, type Bench, type LastRows, type Stage } from '../lib/bench.js';
import { THING_TOPIC, THING_TYPE } from '../lib/effect.js';
import { mostResident } from '../lib/resident.js';
import type { Subject } from '../lib/subject.js';

const WORKLOAD = 'scale';
const KEYS = 500;
const LANES = 16;
const DEAD_ROWS = 120_000;
const NORMAL = 'a backlog as any';

interface Shape {
  readonly name: string;
  readonly keys?: number;
  readonly events?: number;
  readonly lanes?: number;
  readonly instances?: number;
  readonly before?: (stage: Stage, keys: readonly string[]) => Promise<void>;
  /** Rows that stay. */
  readonly left?: number;
}

/** How the relay's rate moves as work grows, to the null broker: each shape beside the same backlog without it. */
export async function scale(bench: Bench): Promise<void> {
  const { events } = bench;
  const shapes: Shape[] = [
    { name: NORMAL },
    { name: 'a backlog of 1,000 events', events: 1000 },
    { name: `a backlog ten times as large`, events: events * 10 },
    { name: '10 keys', keys: 10 },
    { name: '100,000 keys', keys: 100_000, events: Math.max(events, 100_000) },
    { name: '1 lane', lanes: 1 },
    { name: '2 instances', instances: 2 },
    { name: '4 instances', instances: 4 },
    { name: 'one key that is blocked', before: blockOneKey, left: 2 },
    { name: '120,000 dead rows under an open snapshot', before: leaveDeadRows },
  ];
  for (const shape of shapes) await bench.stage('postgres', async (stage) => measure(bench, stage, shape));
}

async function measure(bench: Bench, stage: Stage, shape: Shape): Promise<void> {
  const { events = bench.events, lanes = LANES, instances = 1, left = 0 } = shape;
  const keys = keysOf(shape.keys ?? KEYS);
  const subjects: Subject[] = [];
  const env = { BENCH_NULL_BROKER: '1', BENCH_GROUPS: 'drain', ROLES: 'relay', OUTBOX_LANES: String(lanes) };
  for (let index = 0; index < instances; index++)
    subjects.push(await stage.start('subjects/waybill.ts', { ...env, INSTANCE_ID: `scale-${index}` }));
  const published = async (): Promise<{ events: number; disorder: number }> => {
    const counts = await Promise.all(subjects.map((subject) => subject.call<{ events: number; disorder: number }>('published')));
    return counts.reduce((sum, one) => ({ events: sum.events + one.events, disorder: sum.disorder + one.disorder }));
  };
  // Every instance has its share of the lanes, and has been warm.
  await until(
    stage.database,
    `(SELECT count(DISTINCT owner) FROM lane_lease WHERE pool = 'outbox' AND leased_until > now()) = ${Math.min(instances, lanes)}`,
  );
  await fill(stage, keysOf(KEYS), 5000, lanes);
  await until(stage.database, 'NOT EXISTS (SELECT 1 FROM outbox)');
  await shape.before?.(stage, keys);
  const before = await published();
  const { filled, last } = await fill(stage, keys, events, lanes);
  const cost = await stage.cost(subjects, () => untilDrained(stage.database, last));
  await until(stage.database, `(SELECT count(*) FROM outbox) = ${left}`);
  const after = await published();
  // Instances that take lanes from each other may publish twice; they never publish out of order.
  if (instances === 1) bench.check(`what was published of ${shape.name}`, after, { events: before.events + filled, disorder: 0 });
  bench.add({
    workload: WORKLOAD,
    name: shape.name,
    broker: 'none',
    value: filled / cost.seconds,
    unit: 'events/s',
    baseline: NORMAL,
    ...perEvent(cost, filled),
    note: `${filled.toLocaleString('en')} events; at most ${Math.round(Math.max(...subjects.map(({ pid }) => mostResident(pid))))} MB resident`,
  });
}

/** Events of the keys in turn, committed at one moment; answers how many, and which the relay comes to last. */
async function fill(
  { database }: Stage,
  keys: readonly string[],
  events: number,
  lanes: number,
): Promise<{ readonly filled: number; readonly last: LastRows }> {
  const rounds = Math.max(1, Math.round(events / keys.length));
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  try {
    await client.query('BEGIN');
    await client.query(
      `INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload)
       SELECT k.lane, gen_random_uuid(), '${THING_TOPIC}', '${THING_TYPE}', k.key, $4, format('{"thingId":"%s","n":%s,"text":"%s"}', k.key, n, repeat('x', 230))
       FROM generate_series(1, $3::int) AS n, unnest($1::smallint[], $2::text[]) WITH ORDINALITY AS k(lane, key, at) ORDER BY n, k.at`,
      [
        keys.map((key) => bucketOf(key, lanes)),
        keys,
        rounds,
        JSON.stringify({
          'content-type': 'application/json',
          ce_specversion: '1.0',
          ce_type: THING_TYPE,
          ce_source: 'urn:waybill:bench',
          ce_time: new Date().toISOString(),
        }),
      ],
    );
    return { filled: rounds * keys.length, last: await commitBacklog(client) };
  } finally {
    await client.end();
  }
}

/** Its first event can be published by nobody, and its second waits. */
async function blockOneKey({ database }: Stage): Promise<void> {
  const key = randomUUID();
  for (const headers of ['no JSON', '{}'])
    await database.query(
      `INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload) VALUES ($1, gen_random_uuid(), '${THING_TOPIC}', '${THING_TYPE}', $2, $3, '{}')`,
      [bucketOf(key, LANES), key, headers],
    );
  await until(database, 'EXISTS (SELECT 1 FROM outbox_held_key)');
}

/** Published and deleted, while a transaction elsewhere keeps PostgreSQL from clearing them away. */
async function leaveDeadRows(stage: Stage): Promise<void> {
  const old = new pg.Client({ connectionString: stage.database.url });
  await old.connect();
  stage.atEnd(() => old.end());
  await old.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  await old.query('SELECT 1 FROM outbox');
  await fill(stage, keysOf(KEYS), DEAD_ROWS, LANES);
  await until(stage.database, 'NOT EXISTS (SELECT 1 FROM outbox)');
}
