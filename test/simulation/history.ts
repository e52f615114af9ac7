import fc from 'fast-check';

/** What a group's handler does with an event. */
export const PLANS = [
  'ok', // handles it in one transaction
  'plain', // handles it without a transaction
  'chain', // handles it and emits the next event
  'slow', // takes its time, within the limit
  'fail1', // fails once
  'fail2', // fails twice, which is still within the limit
  'poison', // fails until a person mends it
  'fatal', // says at once that trying again is no use, until mended
  'hang', // does not end within its time, once; what it does afterwards must have no effect
] as const;
export type Plan = (typeof PLANS)[number];

/** What the broker does with an event, and what the event's policy is should it refuse. */
export const KINDS = [
  'accepted', // takes it
  'halted', // refuses it until mended; its key waits
  'parked', // refuses it; its key steps aside
  'skipped', // refuses it; it steps aside alone
  'parkable', // takes it, and would have its key step aside
  'skippable', // takes it, and would have it step aside alone
] as const;

export const FAULTS = [
  'kill', // a process dies; another one starts later
  'freeze', // a process stands still and comes back
  'stop', // a process is stopped and started again, as a deployment does
  'databaseAway', // nobody reaches the database
  'databaseRestart', // every connection to the database ends
  'loseCommit', // a COMMIT takes place, and its answer is lost
  'brokerAway', // nobody reaches the broker
  'loseAnswer', // the broker stores a message, and its answer is lost
  'rebalance', // partitions change hands, and come again from the oldest unsettled message
  'disconnect', // a process loses its subscriptions
  'replay', // an operator replays all dead letters, mended or not
  'pause', // an operator pauses the groups for a while
] as const;

export interface PlannedEvent {
  readonly at: number;
  readonly key: number;
  readonly plan: Plan;
  readonly kind: (typeof KINDS)[number];
  /** Committed together with the next one of the list. */
  readonly joined: boolean;
}

export interface PlannedFault {
  readonly at: number;
  readonly kind: (typeof FAULTS)[number];
  readonly target: number;
  readonly ms: number;
}

/** Everything that one simulated history depends on. */
export interface History {
  /** Of everything that is left to chance. */
  readonly seed: number;
  readonly broker: 'log' | 'queue' | 'postgres';
  readonly instances: number;
  /** Whether handlers commit together where they come to it at the same time. */
  readonly grouped?: boolean;
  readonly latencyMs: number;
  readonly events: readonly PlannedEvent[];
  readonly faults: readonly PlannedFault[];
  /** What an operator does with the dead letters at the end, one after the other. */
  readonly operator: readonly ('replay' | 'discard' | 'edit')[];
}

/** Histories get longer on request: see docs/simulation.md. */
const MOST_EVENTS = Number(process.env['SIMULATION_EVENTS'] ?? 6);

const weighted = <T extends string>(of: readonly T[], usual: T, weight: number): fc.Arbitrary<T> =>
  fc.oneof({ weight, arbitrary: fc.constant(usual) }, { weight: 10 - weight, arbitrary: fc.constantFrom(...of) });

export const histories: fc.Arbitrary<History> = fc.record({
  seed: fc.nat(0xffffffff),
  broker: fc.constantFrom('log' as const, 'log' as const, 'queue' as const, 'queue' as const, 'postgres' as const),
  instances: fc.constantFrom(1, 2, 2, 2, 3),
  grouped: fc.boolean(),
  latencyMs: fc.constantFrom(1, 5, 40),
  events: fc.array(
    fc.record({
      at: fc.nat(30).map((n) => n * 100),
      key: fc.nat(2),
      plan: weighted(PLANS, 'ok', 5),
      kind: weighted(KINDS, 'accepted', 8),
      joined: fc.boolean(),
    }),
    { minLength: 1, maxLength: MOST_EVENTS },
  ),
  faults: fc.array(
    fc.record({
      at: fc.nat(50).map((n) => n * 100),
      kind: fc.constantFrom(...FAULTS),
      target: fc.nat(2),
      ms: fc.constantFrom(50, 500, 3000, 12_000),
    }),
    { maxLength: 4 },
  ),
  operator: fc.array(fc.constantFrom('replay' as const, 'discard' as const, 'edit' as const), { minLength: 1, maxLength: 3 }),
});
