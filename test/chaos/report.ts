import type { FreshDatabase } from '../support/fresh-database.js';
import type { History } from '../support/history.js';
import type { ChaosOptions } from './chaos-run.js';
import type { Faults } from './faults.js';

interface Told {
  readonly options: ChaosOptions;
  readonly history: History;
  readonly faults: Faults;
  readonly recovery: { readonly ms: number; readonly backlog: number };
  readonly letters: { readonly mended: number; readonly discarded: number };
  readonly published: number;
  readonly duplicates: number;
  readonly seconds: number;
  readonly violations: readonly string[];
  readonly failedStarts: number;
  readonly database: FreshDatabase;
}

/** The command that runs the same seed again. */
export function commandOf({ broker, instances, seconds, seed }: ChaosOptions): string {
  return `npm run chaos -- --broker ${broker} --instances ${instances} --minutes ${seconds / 60} --seed ${seed}`;
}

/** What happened in a run, in words and numbers. */
export async function report(told: Told): Promise<string> {
  const { options, history, faults, recovery, letters, violations } = told;
  const states = await told.database.query<{ status: string; count: number }>(
    `SELECT status || coalesce(' (' || reason || ')', '') AS status, count(*)::int AS count FROM orders GROUP BY 1 ORDER BY 1`,
  );
  const operations = Object.entries(history.summary()).map(
    ([name, { ok, fail, unknown }]) => `${name}: ${ok} ok, ${fail} fail, ${unknown} unknown`,
  );
  const takeOvers = faults.takeOversMs.map((ms) => (ms / 1000).toFixed(1));
  return [
    `chaos on ${options.broker}, ${options.instances} instances, ${options.seconds} s of faults, seed ${options.seed}: ${violations.length === 0 ? 'every invariant holds' : `${violations.length} VIOLATIONS`}`,
    `  operations    ${operations.join('; ')}`,
    `  orders        ${states.map(({ status, count }) => `${count} ${status}`).join(', ')}`,
    `  events        ${told.published} published, at least ${told.duplicates} duplicates absorbed`,
    `  faults        ${Object.entries(faults.happened)
      .map(([what, count]) => `${count} × ${what}`)
      .join(', ')}`,
    ...(told.failedStarts > 0 ? [`  starts        ${told.failedStarts} ended before they were ready, and were made again`] : []),
    `  take-over     ${takeOvers.length > 0 ? `${takeOvers.join(', ')} s` : 'not measured'}`,
    `  recovery      no group behind ${(recovery.ms / 1000).toFixed(1)} s after the last fault, with ${recovery.backlog} events to see to`,
    `  dead letters  ${letters.mended} mended and replayed, ${letters.discarded} discarded`,
    ...violations.map((violation) => `  ${violation}`),
    ...(violations.length > 0 ? [`  again: ${commandOf(options)}`] : []),
  ].join('\n');
}
