import { afterAll, it } from '@jest/globals';
import type { BrokerName } from '../../src/config/config.js';
import { brokersUnderTest, stopServers } from '../support/brokers-under-test.js';
import { faults, type Place } from './fault-table.mjs';

export interface FaultOptions {
  /** Where this test proves the fault; default: wherever the table says that it concerns. */
  readonly on?: readonly Place[];
  /** Left out of `npm test`, everywhere or on these brokers; `npm run test:faults` runs it. */
  readonly slow?: boolean | readonly Place[];
  /** Too long for CI; `npm run test:faults:all` runs it. */
  readonly long?: boolean;
  readonly timeoutMs?: number;
}

/** What of the faults this run wants: `quick` in npm test. */
const EXTENT = process.env['FAULTS'] ?? 'quick';

afterAll(() => stopServers());

/** A test of one fault of the table, on each broker under test that it concerns. Its name, `P1 on kafka: …`, is how the matrix finds it. */
export function fault(id: string, title: string, options: FaultOptions, run: (broker: BrokerName) => Promise<void>): void {
  const entry = faults.find((fault) => fault.id === id);
  if (!entry) throw new Error(`the table of faults has no ${id}`);
  const { slow = false } = options;
  const possible: readonly Place[] = ['any', ...brokersUnderTest()];
  for (const place of options.on ?? entry.on) {
    const isSlow = typeof slow === 'boolean' ? slow : slow.includes(place);
    const wanted = options.long ? EXTENT === 'all' : EXTENT !== 'quick' || !isSlow;
    if (wanted && possible.includes(place)) it(`${id} on ${place}: ${title}`, () => run(place as BrokerName), options.timeoutMs ?? 60_000);
    else leaveOut();
  }
}

let leftOut = false;

/** Says once a file that it has more; a file without any test would be a failure to Jest. */
function leaveOut(): void {
  if (!leftOut) it.skip('the rest of them: npm run test:faults', () => undefined);
  leftOut = true;
}
