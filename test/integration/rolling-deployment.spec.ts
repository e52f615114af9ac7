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
    // In a table, because an attempt that a rebalance cuts short is rolled back and made again.
    await world.database.query('CREATE TABLE seen (id bigserial, by text, thing uuid, n int)');
    const handler = (group: string): TestHandler => ({
      group,
      handle: ({ data }, context) =>
        context.once(
          async (tx) => void (await tx.$executeRaw`INSERT INTO seen (by, thing, n) VALUES (${group}, ${data.thingId}::uuid, ${data.n})`),
        ),
    });
    const seenBy = async (group: string, key: string): Promise<number[]> =>
      (await world.database.query<{ n: number }>('SELECT n FROM seen WHERE by = $1 AND thing = $2 ORDER BY id', [group, key])).map(
        ({ n }) => n,
      );
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
      async () => {
        for (const key of keys) {
          expect(await seenBy('one', key)).toEqual(range(0, next));
          const second = await seenBy('two', key);
          expect(second).toEqual(range(second[0] as number, next));
          expect(second[0]).toBeLessThanOrEqual(from);
        }
      },
      { timeoutMs: 90_000, everyMs: 250 },
    );
    expect(await world.deadLetters()).toEqual([]);
    await eventually(async () => expect(await world.count('outbox')).toBe(0));
  }, 180_000);
});

/** All whole numbers from the first to before the last. */
function range(first: number, last: number): number[] {
  return Array.from({ length: last - first }, (_, index) => first + index);
}
