import { keysOf, prepareEffects, type Bench } from '../lib/bench.js';
import { startBaseline, TUTORIAL } from '../lib/baseline.js';
import type { Quantiles } from '../lib/numbers.js';
import type { Subject } from '../lib/subject.js';

const keys = keysOf(100);

/** From the commit that emits an event to the commit of its effect, one event at a time and at two rates. */
export async function latency(bench: Bench, workload = 'latency', rates: readonly number[] = [20, 200]): Promise<void> {
  for (const broker of bench.brokers) {
    await bench.stage(broker, async (stage) => {
      await prepareEffects(stage.database, ['latency'], keys);
      await probe(bench, workload, broker, rates, () =>
        stage.start('subjects/waybill.ts', { BENCH_GROUPS: 'latency', ROLES: 'relay,consumers' }),
      );
    });
  }
  await bench.stage('kafka', async (stage) => {
    await prepareEffects(stage.database, ['latency'], keys);
    await probe(
      bench,
      workload,
      'kafka',
      rates,
      () => startBaseline(stage, 'publisher,consumer', { BASELINE_GROUP: 'latency' }),
      `${TUTORIAL}, `,
    );
  });
}

async function probe(
  bench: Bench,
  workload: string,
  broker: string,
  rates: readonly number[],
  start: () => Promise<Subject>,
  prefix = '',
): Promise<void> {
  const subject = await start();
  await subject.call<Quantiles>('latency', { rate: 200, count: 2000, keys }); // warm
  for (const rate of rates) {
    const { p50, p99, max } = await subject.call<Quantiles>('latency', { rate, count: rate * 10, keys });
    for (const [quantile, value] of [
      ['p50', p50],
      ['p99', p99],
    ] as const)
      bench.add({
        workload,
        name: `${prefix}${rate}/s, ${quantile}`,
        broker,
        value,
        unit: 'ms',
        ...(prefix === '' && { baseline: `${TUTORIAL}, ${rate}/s, ${quantile}` }),
        note: `max ${max.toFixed(1)} ms`,
      });
  }
}
