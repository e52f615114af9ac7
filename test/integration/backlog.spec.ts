import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { stopServers } from '../support/brokers-under-test.js';
import { eventually, gate } from '../support/eventually.js';
import { thing } from '../support/things.js';
import { World, type TestHandler } from '../support/world.js';

const EVENTS = 8;
const CONNECTIONS = 2;

describe('a backlog of events', () => {
  let world: World;
  beforeEach(async () => {
    // Nobody who holds a connection runs out of time.
    const patience = { DATABASE_TRANSACTION_TIMEOUT_MS: '60000', HANDLER_TIMEOUT_MS: '60000' };
    world = await World.create('postgres', { DATABASE_POOL_SIZE: String(CONNECTIONS), ...patience });
  });
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
      const { database } = instance;
      await eventually(() => expect(database.waitingOf('event')).toBeGreaterThanOrEqual(EVENTS - CONNECTIONS));
      expect(holding).toHaveLength(CONNECTIONS);
      const request = database.transaction(async (tx) => tx.$queryRaw<{ answer: number }[]>`SELECT 42 AS answer`);
      await eventually(() => expect(database.waitingOf('request')).toBe(1));
      holding[0]?.();
      expect(await request).toEqual([{ answer: 42 }]); // no other handler is let go: it does not end behind one of them
      for (let next = 1; next < EVENTS; next++) {
        await eventually(() => expect(holding.length).toBeGreaterThan(next));
        holding[next]?.();
      }
      await eventually(async () => expect(await world.count('inbox')).toBe(EVENTS));
    },
  );

  it('is no request while it is parked either', async () => {
    const instance = await world.start([{ group: 'failing', handle: () => Promise.reject(new Error('no')) }]);
    const { database } = instance;
    const blocker = new pg.Client({ connectionString: world.database.url });
    await blocker.connect();
    await blocker.query('BEGIN; LOCK TABLE parked_event IN EXCLUSIVE MODE'); // nobody writes, everybody reads
    await world.emit(
      instance,
      Array.from({ length: EVENTS }, (_, n) => thing(randomUUID(), n)),
      true,
    );
    // All of them are to be parked now, and no connection gets on with it.
    await eventually(() => expect(database.waitingOf('event')).toBeGreaterThanOrEqual(EVENTS - CONNECTIONS));
    expect(database.waitingOf('request')).toBe(0);
    await blocker.query('COMMIT');
    await blocker.end();
    await eventually(async () => expect(await world.count('dead_letter')).toBe(EVENTS));
  });
});
