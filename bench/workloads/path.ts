import { checkEffects, fillOutbox, keysOf, perEvent, prepareEffects, until, type Bench } from '../lib/bench.js';
import { startBaseline, TUTORIAL } from '../lib/baseline.js';
import { MODES } from './consume.js';

const WORKLOAD = 'path';
const KEYS = 500;

/** The whole way: a backlog in the outbox, until each event is handled, remembered, and has its update. */
export async function path(bench: Bench): Promise<void> {
  for (const broker of bench.brokers) {
    const own = bench.on([broker]);
    for (const [mode, name] of MODES) {
      await own.stage(broker, async (stage) => {
        const keys = keysOf(KEYS);
        const warmKeys = keysOf(KEYS);
        await prepareEffects(stage.database, ['path'], [...warmKeys, ...keys]);
        const subject = await stage.start('subjects/waybill.ts', { BENCH_GROUPS: 'path', BENCH_MODE: mode, ROLES: 'relay,consumers' });
        const all = own.warmUp + own.events;
        await fillOutbox(stage.database, warmKeys, own.warmUp);
        await until(stage.database, `(SELECT sum(handled) FROM bench_effect) >= ${own.warmUp}`);
        await fillOutbox(stage.database, keys, own.events);
        const cost = await stage.cost([subject], () => until(stage.database, `(SELECT sum(handled) FROM bench_effect) >= ${all}`));
        await checkEffects(own, stage.database, 'path', all);
        own.add({
          workload: WORKLOAD,
          name,
          broker,
          value: own.events / cost.seconds,
          unit: 'events/s',
          baseline: TUTORIAL,
          ...perEvent(cost, own.events),
        });
      });
    }
  }
  await bench.stage('kafka', async (stage) => {
    const warmUp = Math.ceil(bench.warmUp / 20);
    const events = warmUp + Math.ceil(bench.events / 20);
    const keys = keysOf(KEYS);
    await prepareEffects(stage.database, ['path'], keys);
    const subject = await startBaseline(stage, 'publisher,consumer', { BASELINE_GROUP: 'path' });
    await stage.database.query(
      `INSERT INTO baseline_outbox (id, topic, key, type, payload)
       SELECT gen_random_uuid()::text, $1, k, 'bench.thing.happened', jsonb_build_object('thingId', k, 'n', (n - 1) / ${KEYS} + 1, 'text', repeat('x', 230))
       FROM generate_series(1, $2::int) AS n, LATERAL (SELECT ($3::text[])[(n - 1) % ${KEYS} + 1] AS k) AS key`,
      [`${stage.namespace}.baseline`, events, keys],
    );
    const handled = '(SELECT sum(handled) FROM bench_effect)';
    await until(stage.database, `${handled} >= ${warmUp}`);
    const [before] = await stage.database.query<{ done: number }>(`SELECT ${handled}::int AS done`);
    const cost = await stage.cost([subject], () => until(stage.database, `${handled} >= ${events}`));
    const done = events - (before?.done ?? 0);
    await checkEffects(bench, stage.database, 'path', events);
    bench.add({
      workload: WORKLOAD,
      name: TUTORIAL,
      broker: 'kafka',
      value: done / cost.seconds,
      unit: 'events/s',
      ...perEvent(cost, done),
    });
  });
}
