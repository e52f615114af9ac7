import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { brokersUnderTest, stopServers } from '../support/brokers-under-test.js';
import { eventually } from '../support/eventually.js';
import { thing } from '../support/things.js';
import { World, type TestHandler } from '../support/world.js';

const KEYS = 5;

describe.each(brokersUnderTest())('a rolling deployment, with %s', (broker) => {
  let world: World;
  beforeEach(async () => {
    world = await World.create(broker);
  });
  afterEach(() => world.destroy());
  afterAll(() => stopServers());

  it("a group that only the new version has misses nothing that is committed from its start on, though the old version's relay publishes it", async () => {
    const seen: Record<string, Map<string, number[]>> = { one: new Map(), two: new Map() };
    const handler = (group: string): TestHandler => ({
      group,
      handle: (event, context) =>
        context.once(() => {
          const numbers = seen[group]?.get(event.data.thingId) ?? [];
          numbers.push(event.data.n);
          seen[group]?.set(event.data.thingId, numbers);
          return Promise.resolve();
        }),
    });
    const keys = Array.from({ length: KEYS }, () => randomUUID());
    const old = await world.start([handler('one')]);
    let next = 0;
    let ended = false;
    const load = (async () => {
      while (!ended) {
        const n = next++;
        await world.emit(
          old,
          keys.map((key) => thing(key, n)),
          true,
        );
      }
    })();
    await eventually(() => expect(next).toBeGreaterThan(20));
    await world.start([handler('one'), handler('two')], { roles: ['consumers'] });
    const from = next;
    await eventually(() => expect(next).toBeGreaterThan(from + 20));
    ended = true;
    await load;

    await eventually(
      () => {
        for (const key of keys) {
          expect(seen['one']?.get(key)).toEqual(range(0, next));
          const second = seen['two']?.get(key) ?? [];
          expect(second).toEqual(range(second[0] as number, next));
          expect(second[0]).toBeLessThanOrEqual(from);
        }
      },
      { timeoutMs: 60_000 },
    );
    expect(await world.deadLetters()).toEqual([]);
    await eventually(async () => expect(await world.count('outbox')).toBe(0));
  });
});

/** All whole numbers from the first to before the last. */
function range(first: number, last: number): number[] {
  return Array.from({ length: last - first }, (_, index) => first + index);
}
