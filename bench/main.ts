import fs from 'node:fs';
import path from 'node:path';
import { main } from '../scripts/lib/main.mjs';
import { progress } from '../scripts/lib/progress.mjs';
import { Bench, type Figure } from './lib/bench.js';
import { compare } from './lib/check.js';
import { publish, RATIOS } from './lib/publish.js';
import { reportOf, tablesOf } from './lib/report.js';
import { optionsOf, type Workload } from './options.js';
import { beside } from './workloads/beside.js';
import { consume } from './workloads/consume.js';
import { latency } from './workloads/latency.js';
import { memory } from './workloads/memory.js';
import { path as wholePath } from './workloads/path.js';
import { relay } from './workloads/relay.js';
import { scale } from './workloads/scale.js';
import { shop } from './workloads/shop.js';
import { write } from './workloads/write.js';

const workloads: Record<Workload, (bench: Bench) => Promise<void>> = {
  write,
  relay,
  consume,
  path: wholePath,
  latency,
  scale,
  shop,
  memory,
  beside,
};

await main(async () => {
  const options = optionsOf(process.argv.slice(2));
  if (options.publish.length > 0) {
    publish(options.publish);
    return 0;
  }
  const line = progress('benchmarks');
  const runs: (readonly Figure[])[] = [];
  const failures: string[] = [];
  let versions: string[] = [];
  const say = (text: string): void => line.update(text);
  // Every run has servers of its own: what one left behind must not slow the next.
  for (let run = 1; run <= options.runs; run++) {
    const bench = new Bench(options.brokers, options.events, (text) =>
      say(options.runs > 1 ? `run ${run} of ${options.runs}: ${text}` : text),
    );
    try {
      for (const name of options.only)
        // What the others have found is not lost with it.
        await workloads[name](bench).catch((error: unknown) => {
          failures.push(`run ${run}, ${name}: ${(error as Error).message}`);
          say(`${name} failed: ${(error as Error).message}`);
        });
      versions = await bench.versions();
    } finally {
      await bench.close();
    }
    runs.push(bench.figures);
  }
  const report = reportOf(runs, versions, options.events);
  const file = path.resolve(options.json);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, `${JSON.stringify(report, undefined, 2)}\n`);
  const place = path.relative(process.cwd(), file);
  line.done(
    failures.length === 0
      ? `benchmarks: every check held; the figures are in ${place}`
      : `benchmarks: ${failures.length} failed, as said below; the other figures are in ${place}`,
  );
  process.stdout.write(`\n${tablesOf(report)}\n`);
  if (failures.length > 0) process.stdout.write(`\nFailed:\n  ${failures.join('\n  ')}\n`);
  if (!options.check) return failures.length === 0 ? 0 : 1;
  if (!fs.existsSync(RATIOS)) throw new Error('There are no ratios to check against yet: publish some runs first, with --publish.');
  const worse = compare(report, JSON.parse(fs.readFileSync(RATIOS, 'utf8')) as never);
  process.stdout.write(
    worse.length === 0 ? '\nNo ratio is worse than the committed one allows.\n' : `\nWorse than committed:\n${worse.join('\n')}\n`,
  );
  return worse.length === 0 && failures.length === 0 ? 0 : 1;
});
