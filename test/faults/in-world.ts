import type { BrokerName } from '../../src/config/config.js';
import { World, type TestHandler } from '../support/world.js';

/** Does the work in a world of its own, which goes whatever becomes of it. */
export async function inWorld(
  broker: BrokerName,
  env: Readonly<Record<string, string>>,
  work: (world: World) => Promise<void>,
  serverUrl?: string,
): Promise<void> {
  const world = await World.create(broker, env, serverUrl);
  try {
    await work(world);
  } finally {
    await world.destroy();
  }
}

/** A handler of group `one` that remembers, for each key, the numbers in the order in which they were first handled. */
export function recorder(seen: Map<string, number[]>, more: Partial<TestHandler> = {}): TestHandler {
  return {
    group: 'one',
    handle: async ({ data }, context) => {
      await context.once(async () => remember(seen, data));
    },
    ...more,
  };
}

export function remember(seen: Map<string, number[]>, { thingId, n }: { thingId: string; n: number }): void {
  const numbers = seen.get(thingId) ?? [];
  if (!numbers.includes(n)) numbers.push(n);
  seen.set(thingId, numbers);
}

export const range = (length: number): number[] => Array.from({ length }, (_, n) => n);
