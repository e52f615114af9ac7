// @ts-check
import { parseArgs } from 'node:util';
import { build, generate } from '../build.mjs';
import { availability, environmentNames, serverNames } from '../servers/index.mjs';
import { runJest } from './jest-run.mjs';

const USAGE = 'npm run chaos -- --broker kafka --instances 3 --minutes 2 --seed 42';

/** Runs the shop under a seeded mix of orders and faults, on servers of its own; resolves to the exit code. @param {string[]} args */
export async function chaos(args) {
  const { broker, ...options } = chaosOptions(args);
  for (const name of Object.values(environmentNames)) delete process.env[name]; // faults are for servers of our own
  for (const name of /** @type {const} */ (['postgres', broker])) {
    const found = await availability(name);
    if (!found.available)
      throw new Error(`${name} cannot be started here: ${found.reason}${found.cure ? `\nTo have it: ${found.cure}` : ''}`);
  }
  await generate();
  await build();
  const interrupted = new AbortController();
  for (const name of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) process.on(name, () => interrupted.abort(name));
  const env = { ...process.env, TEST_BROKERS: broker, CHAOS: JSON.stringify(options) };
  const { passed, failed } = await runJest(['--selectProjects', 'chaos', '--testPathPatterns', `chaos-${broker}`], env, interrupted.signal);
  return failed === 0 && passed > 0 ? 0 : 1;
}

/** @param {string[]} args */
function chaosOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      broker: { type: 'string', default: 'postgres' },
      instances: { type: 'string', default: '3' },
      minutes: { type: 'string', default: '2' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 1_000_000)) },
      clients: { type: 'string', default: '6' },
    },
  });
  const broker = serverNames.find((name) => name === values.broker);
  if (!broker) throw new Error(`--broker wants one of ${serverNames.join(', ')}: ${USAGE}`);
  /** @param {'instances' | 'minutes' | 'seed' | 'clients'} name @param {number} least @param {number} most */
  const number = (name, least, most) => {
    const value = Number(values[name]);
    if (!(value >= least && value <= most)) throw new Error(`--${name} wants a number from ${least} to ${most}: ${USAGE}`);
    return value;
  };
  return {
    broker,
    instances: number('instances', 1, 16),
    seconds: number('minutes', 0.1, 600) * 60,
    seed: number('seed', 0, 4_294_967_295),
    clients: number('clients', 1, 100),
  };
}
