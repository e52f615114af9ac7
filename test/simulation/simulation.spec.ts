import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { FAULTS, histories, type History } from './history.js';
import { simulate } from './simulation.js';

/** Histories that once broke a promise; they are played before all others. */
const REGRESSIONS = fileURLToPath(new URL('./regressions/', import.meta.url));
const SHRINK_MS = 45_000;
const LONGEST_MS = 24 * 3_600_000;

// How many histories, from which seed: see docs/simulation.md.
const wanted = Number(process.env['SIMULATION_HISTORIES'] ?? 10_000);
const wantedSeed = process.env['SIMULATION_SEED'] ?? '20261125';
const seed = wantedSeed === 'random' ? Math.floor(Math.random() * 2 ** 31) : Number(wantedSeed);

/** What must have come up in a thousand histories, or they prove little. */
const MUST_HAPPEN = [
  ...FAULTS,
  'tried again',
  'parked after a failure',
  'parked behind another',
  'dead letter open',
  'dead letter replaying',
  'dead letter replayed',
  'dead letter discarded',
  'replayed with other data',
  'stepped aside by park',
  'stepped aside by skip',
  'published again',
  'delivered again',
  'handled by two at once',
  'waited for a lock',
  'several handlers asked in one message',
  'frozen past its leases',
  'came back after its time, and was refused',
];

describe('simulated histories of the messaging core', () => {
  for (const name of readdirSync(REGRESSIONS).filter((file) => file.endsWith('.json')))
    it(`keep every promise in ${name}`, async () => {
      await simulate((JSON.parse(readFileSync(path.join(REGRESSIONS, name), 'utf8')) as { history: History }).history);
    });

  it(
    `keep every promise in ${wanted} histories of chance`,
    async () => {
      let steps = 0;
      const counts = new Map<string, number>();
      const property = fc.asyncProperty(histories, async (history) => {
        const outcome = await simulate(history);
        steps += outcome.steps;
        for (const thing of outcome.happened) counts.set(thing, (counts.get(thing) ?? 0) + 1);
      });
      const found = await fc.check(property, { numRuns: wanted, seed, endOnFailure: true });
      if (found.failed) {
        const smaller = await fc.check(property, {
          seed,
          ...(found.counterexamplePath !== null && { path: found.counterexamplePath }),
          interruptAfterTimeLimit: SHRINK_MS,
        });
        const { counterexample, errorInstance } = smaller.counterexample ? smaller : found;
        throw new Error(tell((counterexample as [History])[0], errorInstance as Error));
      }
      expect(found.numRuns).toBe(wanted);
      expect(steps / wanted).toBeGreaterThan(100);
      if (wanted >= 1000) expect(MUST_HAPPEN.filter((thing) => (counts.get(thing) ?? 0) < wanted / 1000)).toEqual([]);
      if (process.env['SIMULATION_COUNTS'] !== undefined)
        process.stderr.write(`${JSON.stringify(Object.fromEntries(counts), undefined, 2)}\n`);
    },
    LONGEST_MS,
  );
});

/** Keeps the history beside the others, and says how to play it again. */
function tell(history: History, error: Error): string {
  const text = JSON.stringify({ history }, undefined, 2);
  const name = `${createHash('sha256').update(text).digest('hex').slice(0, 12)}.json`;
  mkdirSync(REGRESSIONS, { recursive: true });
  writeFileSync(path.join(REGRESSIONS, name), `${text}\n`);
  return [
    error.message,
    '',
    `The smallest history found is kept as test/simulation/regressions/${name} and is played first from now on.`,
    `The same search again: SIMULATION_SEED=${seed} npm test -- --only simulation --no-static`,
  ].join('\n');
}
