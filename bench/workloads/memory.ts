import { checkEffects, fillOutbox, keysOf, perEvent, prepareEffects, until, type Bench, type Stage } from '../lib/bench.js';
import { mostResident } from '../lib/resident.js';
import { fillBroker } from './consume.js';

const WORKLOAD = 'memory';
const KEYS = 500;
const PORTIONS = 10;
/** So many times the events of the other workloads: a million, by default. */
const TIMES = 20;
/** What the last portion may leave in use of what the second did; the first one fills what is kept for use again. */
const MOST_GROWTH = 1.3;
const SLOW_HANDLER_MS = 50;
const SLOW_SECONDS = 15;
/** What a consumer may hold of a backlog that waits at its broker. */
const MOST_HELD_MB = 48;

/** Whether the heap stays as it is while very many events pass, and while very many wait. */
export async function memory(bench: Bench): Promise<void> {
  for (const broker of bench.brokers) {
    const own = bench.on([broker]);
    await own.stage(broker, async (stage) => passing(own, stage));
    await own.stage(broker, async (stage) => waiting(own, stage));
  }
}

/** All through one instance: out of the outbox, to the broker, and back to a handler. */
async function passing(bench: Bench, stage: Stage): Promise<void> {
  const each = Math.ceil((bench.events * TIMES) / PORTIONS);
  const portions = Array.from({ length: PORTIONS }, () => keysOf(KEYS));
  await prepareEffects(stage.database, ['path'], portions.flat());
  const subject = await stage.start('subjects/waybill.ts', { BENCH_GROUPS: 'path', BENCH_MODE: 'batch', ROLES: 'relay,consumers' });
  const heaps: number[] = [];
  const cost = await stage.cost([subject], async () => {
    for (const keys of portions) {
      await fillOutbox(stage.database, keys, each);
      const all = each * (heaps.length + 1);
      await until(stage.database, `(SELECT sum(handled) FROM bench_effect) >= ${all}`, [], { limitMs: 600_000 });
      heaps.push(await subject.call<number>('heap'));
    }
  });
  await checkEffects(bench, stage.database, 'path', each * PORTIONS);
  const growth = (heaps.at(-1) as number) / (heaps[1] as number);
  bench.check(
    `the heap after the last portion is at most ${MOST_GROWTH} times that after the second (${megabytes(heaps)})`,
    growth <= MOST_GROWTH,
    true,
  );
  bench.add({
    workload: WORKLOAD,
    name: 'heap in use after the last tenth, against the second',
    broker: stage.broker,
    value: growth,
    unit: 'times',
    ...perEvent(cost, each * PORTIONS),
    note: `${(each * PORTIONS).toLocaleString('en')} events; ${megabytes(heaps)} in use; at most ${Math.round(mostResident(subject.pid))} MB resident`,
  });
}

/** A consumer that is too slow for what is at the broker: it has to wait there. */
async function waiting(bench: Bench, stage: Stage): Promise<void> {
  const keys = keysOf(KEYS);
  await prepareEffects(stage.database, ['slow'], keys);
  await fillBroker(bench, stage, ['slow'], keys);
  const subject = await stage.start('subjects/waybill.ts', {
    BENCH_GROUPS: 'slow',
    BENCH_HANDLER_MS: String(SLOW_HANDLER_MS),
    ROLES: 'consumers',
  });
  const before = await subject.call<number>('heap');
  const handled = '(SELECT sum(handled) FROM bench_effect)';
  await until(stage.database, `${handled} > 0`);
  const heaps: number[] = [];
  for (const end = performance.now() + SLOW_SECONDS * 1000; performance.now() < end;) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    heaps.push(await subject.call<number>('heap'));
  }
  const [row] = await stage.database.query<{ done: number }>(`SELECT ${handled}::int AS done`);
  const left = bench.warmUp + bench.events - (row?.done ?? 0);
  const heldMb = (Math.max(...heaps) - before) / 2 ** 20;
  bench.check('events wait', left > 0, true);
  bench.check(`what is held of them is at most ${MOST_HELD_MB} MB (${Math.round(heldMb)} MB)`, heldMb <= MOST_HELD_MB, true);
  bench.add({
    workload: WORKLOAD,
    name: 'what a slow consumer holds of a backlog',
    broker: stage.broker,
    value: heldMb,
    unit: 'MB',
    note: `${left.toLocaleString('en')} events still wait; ${megabytes(heaps)} in use over ${SLOW_SECONDS} s`,
  });
}

function megabytes(heaps: readonly number[]): string {
  const [least, most] = [Math.min(...heaps), Math.max(...heaps)].map((bytes) => Math.round(bytes / 2 ** 20));
  return `${least}–${most} MB`;
}
