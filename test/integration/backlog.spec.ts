import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { stopServers } from '../support/brokers-under-test.js';
import { eventually, gate } from '../support/eventually.js';
import { thing } from '../support/things.js';
import { World, type TestHandler } from '../support/world.js';

const EVENTS = 8;
const CONNECTIONS = 2;

describe('a backlog of events', () => {
  let world: World;
  beforeEach(async () => (world = await World.create('postgres', { DATABASE_POOL_SIZE: String(CONNECTIONS) })));
  afterEach(() => world.destroy());
  afterAll(() => stopServers());

  it.each(['in context.once', 'outside of it'])(
    'leaves its connections to a request, when its handlers hold all of them %s',
    async (where) => {
      const holding: (() => void)[] = [];
      const hold = async (): Promise<void> => {
        const { opened, open } = gate();
        holding.push(open);
        await opened;
      };
      const handler: TestHandler = {
        group: 'slow',
        handle: async (_event, context) => {
          if (where === 'in context.once') return context.once(hold);
          await instance.database.transaction(hold);
        },
      };
      const instance = await world.start([handler]);
      await world.emit(
        instance,
        Array.from({ length: EVENTS }, (_, n) => thing(randomUUID(), n)),
        true,
      );
      await eventually(() => expect(holding).toHaveLength(CONNECTIONS));
      // All other handlers wait for a connection by now, or at the latest when one of these ends.
      const request = instance.database.transaction(async (tx) => tx.$queryRaw<{ answer: number }[]>`SELECT 42 AS answer`);
      holding[0]?.();
      expect(await request).toEqual([{ answer: 42 }]); // no other handler is let go, so it would wait for ever behind them
      for (let next = 1; next < EVENTS; next++) {
        await eventually(() => expect(holding.length).toBeGreaterThan(next));
        holding[next]?.();
      }
      await eventually(async () => expect(await world.count('inbox')).toBe(EVENTS));
    },
  );
});
