import { parseArgs } from 'node:util';
import { BROKERS, type BrokerName } from '../src/config/config.js';

export const WORKLOADS = ['write', 'relay', 'consume', 'path', 'latency', 'shop', 'scale', 'memory', 'beside'] as const;
/** Not run unless they are asked for: one takes long, the other measures again what others measure. */
const ON_REQUEST: readonly string[] = ['memory', 'beside'];
export type Workload = (typeof WORKLOADS)[number];

export interface Options {
  readonly only: readonly Workload[];
  readonly brokers: readonly BrokerName[];
  readonly runs: number;
  readonly events: number;
  /** Compare with the committed ratios, and fail when one is worse than the tolerance allows. */
  readonly check: boolean;
  /** Reports to put into docs/benchmarks.md; nothing is measured then. */
  readonly publish: readonly string[];
  /** Where the figures go, as JSON. */
  readonly json: string;
}

/** @throws Error naming what is not understood, and what would be */
export function optionsOf(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string', default: WORKLOADS.filter((name) => !ON_REQUEST.includes(name)).join(',') },
      broker: { type: 'string', default: 'all' },
      runs: { type: 'string', default: '1' },
      events: { type: 'string', default: '50000' },
      check: { type: 'boolean', default: false },
      publish: { type: 'string', default: '' },
      json: { type: 'string', default: '.waybill/bench.json' },
    },
  });
  return {
    only: namesOf('--only', values.only, WORKLOADS),
    brokers: values.broker === 'all' ? BROKERS : namesOf('--broker', values.broker, BROKERS),
    runs: numberOf('--runs', values.runs),
    events: numberOf('--events', values.events),
    check: values.check,
    publish: values.publish.split(',').filter(Boolean),
    json: values.json,
  };
}

function namesOf<T extends string>(option: string, text: string, known: readonly T[]): T[] {
  return text.split(',').map((name) => {
    const found = known.find((one) => one === name);
    if (!found) throw new Error(`${option} names "${name}"; there are ${known.join(', ')}.`);
    return found;
  });
}

function numberOf(option: string, text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new Error(`${option} wants a number from 1 on, not "${text}".`);
  return Number(text);
}
