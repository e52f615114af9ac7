import type { BrokerName } from '../../src/config/config.js';
import { brokersUnderTest } from '../support/brokers-under-test.js';
import { chaos, type ChaosOptions } from './chaos-run.js';

/** A short run, part of `npm test`; `npm run chaos` gives other numbers. */
const SHORT = { instances: 2, seconds: 15, seed: 1, clients: 4, short: true };
const AROUND_IT_MS = 600_000;

/** One run of chaos on a broker, on servers of its own. */
export function chaosSuite(broker: BrokerName): void {
  const suite = brokersUnderTest().includes(broker) ? describe : describe.skip;
  const asked = process.env['CHAOS'];
  const options: ChaosOptions = { ...(asked === undefined ? SHORT : (JSON.parse(asked) as Omit<ChaosOptions, 'broker'>)), broker };

  suite(`chaos on ${broker}`, () => {
    it(
      'kills, outages and a bad network lose nothing, turn nothing around, and let nothing happen twice',
      async () => {
        const { violations, kills, faults, summary } = await chaos(options, (text) => process.stderr.write(`${text}\n`));
        process.stderr.write(`\n${summary}\n\n`);
        expect(violations).toEqual([]);
        expect(kills).toBeGreaterThan(0);
        expect(Object.keys(faults).length).toBeGreaterThan(1);
      },
      options.seconds * 1000 + AROUND_IT_MS,
    );
  });
}
