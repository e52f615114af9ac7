import { fillOutbox, keysOf, perEvent, until, untilDrained, type Bench, type Stage } from '../lib/bench.js';
import { messagesIn, startBaseline, TUTORIAL } from '../lib/baseline.js';
import { bareLimit } from '../lib/bare-publishers.js';
import { NullBroker } from '../subjects/null-broker.js';

const WORKLOAD = 'relay';
const KEYS = 500;
const EMPTY = 'NOT EXISTS (SELECT 1 FROM outbox)';

/** A backlog of events of 300 bytes over 500 keys, until the last one is proved to be at the broker. */
export async function relay(bench: Bench): Promise<void> {
  await bench.stage('postgres', async (stage) => {
    const subject = await stage.start('subjects/waybill.ts', { BENCH_NULL_BROKER: '1', BENCH_GROUPS: 'drain', ROLES: 'relay' });
    await drain(bench, stage, subject, 'drain to the null broker', 'claim-and-mark');
    bench.check('what the null broker was given', await subject.call('published'), { events: bench.warmUp + bench.events, disorder: 0 });
  });
  await bench.stage('postgres', async (stage) => claimAndMark(bench, stage));
  for (const broker of bench.brokers) {
    const own = bench.on([broker]);
    await own.stage(broker, async (stage) => {
      const subject = await stage.start('subjects/waybill.ts', { BENCH_GROUPS: 'drain', ROLES: 'relay' });
      await drain(own, stage, subject, `drain to ${broker}`, `bare ${broker} client`);
    });
    await own.stage(broker, async (stage) => {
      const bare = await bareLimit(stage, own.events);
      if (bare !== undefined) own.add({ workload: WORKLOAD, name: `bare ${broker} client`, broker, value: bare, unit: 'events/s' });
    });
  }
  await bench.stage('kafka', async (stage) => baseline(bench, stage));
}

async function drain(bench: Bench, stage: Stage, subject: { pid: number }, name: string, limit: string): Promise<void> {
  await fillOutbox(stage.database, keysOf(KEYS), bench.warmUp);
  await until(stage.database, EMPTY);
  const last = await fillOutbox(stage.database, keysOf(KEYS), bench.events);
  const cost = await stage.cost([subject], () => untilDrained(stage.database, last));
  await until(stage.database, EMPTY);
  bench.add({
    workload: WORKLOAD,
    name,
    broker: stage.broker,
    value: bench.events / cost.seconds,
    unit: 'events/s',
    baseline: TUTORIAL,
    limit,
    ...perEvent(cost, bench.events),
  });
}

/** A tenth of the events: the rate is the same, and the wait is not. */
async function baseline(bench: Bench, stage: Stage): Promise<void> {
  const warmUp = Math.ceil(bench.warmUp / 10);
  const events = warmUp + Math.ceil(bench.events / 10);
  const subject = await startBaseline(stage, 'publisher');
  await stage.database.query(
    `INSERT INTO baseline_outbox (id, topic, key, type, payload)
     SELECT gen_random_uuid()::text, $1, (n % ${KEYS})::text, 'bench.thing.happened', jsonb_build_object('thingId', n % ${KEYS}, 'n', n, 'text', repeat('x', 230))
     FROM generate_series(1, $2::int) AS n`,
    [`${stage.namespace}.baseline`, events],
  );
  await until(stage.database, `(SELECT count(*) FROM baseline_outbox WHERE status = 'published') >= ${warmUp}`);
  const [begun] = await stage.database.query<{ left: number }>(
    `SELECT count(*)::int AS left FROM baseline_outbox WHERE status = 'pending'`,
  );
  const left = begun?.left ?? 0;
  const cost = await stage.cost([subject], () =>
    until(stage.database, `NOT EXISTS (SELECT 1 FROM baseline_outbox WHERE status = 'pending')`),
  );
  bench.check('what the baseline has published', await messagesIn(stage, `${stage.namespace}.baseline`), events);
  bench.add({
    workload: WORKLOAD,
    name: TUTORIAL,
    broker: 'kafka',
    value: left / cost.seconds,
    unit: 'events/s',
    ...perEvent(cost, left),
  });
}

/**
 * What relays with a status column do: claim a batch with an update, publish it, mark it with another. The same events go
 * to the same null broker, in the same form.
 */
async function claimAndMark(bench: Bench, stage: Stage): Promise<void> {
  const { database } = stage;
  await database.query(`CREATE TABLE marked_outbox (id bigserial PRIMARY KEY, event_id uuid, topic text, type text, key text, headers text, payload text,
    created_at timestamptz DEFAULT now(), claimed_until timestamptz, published_at timestamptz)`);
  await database.query('CREATE INDEX ON marked_outbox (id) WHERE published_at IS NULL');
  const broker = new NullBroker();
  const fill = async (events: number): Promise<void> => {
    await fillOutbox(database, keysOf(KEYS), events);
    await database.query(`INSERT INTO marked_outbox (event_id, topic, type, key, headers, payload)
      SELECT event_id, topic, type, key, headers, payload FROM outbox ORDER BY id`);
    await database.query('TRUNCATE outbox');
    await database.query('ANALYZE marked_outbox');
  };
  const publishAll = async (): Promise<void> => {
    for (;;) {
      const rows = await database.query<Marked>(
        `UPDATE marked_outbox SET claimed_until = now() + interval '10 s' WHERE id IN (
           SELECT id FROM marked_outbox WHERE published_at IS NULL AND (claimed_until IS NULL OR claimed_until < now()) ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED)
         RETURNING *`,
      );
      if (rows.length === 0) return;
      rows.sort((one, other) => Number(one.id) - Number(other.id));
      await broker.publish(
        rows.map(({ event_id: eventId, topic, type, key, headers, payload }) => ({
          eventId,
          topic,
          type,
          key,
          headers: JSON.parse(headers) as Record<string, string>,
          payload: Buffer.from(payload, 'utf8'),
        })),
      );
      await database.query('UPDATE marked_outbox SET published_at = now() WHERE id = ANY($1::bigint[])', [rows.map(({ id }) => id)]);
    }
  };
  await fill(bench.warmUp);
  await publishAll();
  await fill(bench.events);
  const cost = await stage.cost([], publishAll);
  bench.check('what claim-and-mark has published', broker.counts, { events: bench.warmUp + bench.events, disorder: 0 });
  bench.add({
    workload: WORKLOAD,
    name: 'claim-and-mark',
    broker: 'none',
    value: bench.events / cost.seconds,
    unit: 'events/s',
    ...perEvent(cost, bench.events),
  });
}

/** A row, as RETURNING gives it: in no order. */
interface Marked {
  readonly id: string;
  readonly event_id: string;
  readonly topic: string;
  readonly type: string;
  readonly key: string;
  readonly headers: string;
  readonly payload: string;
}
