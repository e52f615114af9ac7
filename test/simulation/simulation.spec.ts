import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import path from 'node:path';
import { histories, type History } from './history.js';
import { simulate } from './simulation.js';

/** Histories that once broke a promise; they are played before all others. */
const REGRESSIONS = fileURLToPath(new URL('./regressions/', import.meta.url));

const wanted = Number(process.env['SIMULATION_HISTORIES'] ?? 10_000);
const seed = process.env['SIMULATION_SEED'];

describe('simulated histories of the messaging core', () => {
  for (const name of readdirSync(REGRESSIONS).filter((file) => file.endsWith('.json')))
    it(`keep every promise in ${name}`, async () => {
      const { history } = JSON.parse(readFileSync(path.join(REGRESSIONS, name), 'utf8')) as { history: History };
      await simulate(history);
    });

  it(`keep every promise in ${wanted} histories of chance`, async () => {
    let count = 0;
    let steps = 0;
    const result = await fc.check(
      fc.asyncProperty(histories, async (history) => {
        count++;
        ({ steps } = add(steps, await simulate(history)));
      }),
      { numRuns: wanted, interruptAfterTimeLimit: 540_000, ...(seed !== undefined && { seed: Number(seed) }) },
    );
    if (result.failed && result.counterexample) throw new Error(tell(result.counterexample[0], result.seed, result.errorInstance as Error));
    expect(count).toBeGreaterThanOrEqual(wanted);
    expect(steps / count).toBeGreaterThan(100);
  }, 600_000);
});

function add(steps: number, outcome: { steps: number }): { steps: number } {
  return { steps: steps + outcome.steps };
}

/** Keeps the history beside the others, and says how to play it again. */
function tell(history: History, seedOfRun: number, error: Error): string {
  const text = JSON.stringify({ history }, undefined, 2);
  const name = `${createHash('sha256').update(text).digest('hex').slice(0, 12)}.json`;
  mkdirSync(REGRESSIONS, { recursive: true });
  writeFileSync(path.join(REGRESSIONS, name), `${text}\n`);
  return [
    error.message,
    '',
    `The smallest history found is kept as test/simulation/regressions/${name} and is played first from now on:`,
    JSON.stringify(history),
    `The same search again: SIMULATION_SEED=${seedOfRun} npm test -- --only simulation --no-static`,
  ].join('\n');
}
