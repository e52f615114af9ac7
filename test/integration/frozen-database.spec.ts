import { afterAll, describe, expect, it, jest } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { startServer } from '../../scripts/servers/index.mjs';
import { stopServers } from '../support/brokers-under-test.js';
import { eventually, gate } from '../support/eventually.js';
import { thing } from '../support/things.js';
import { World } from '../support/world.js';

describe('a database that falls silent while an event is handled', () => {
  afterAll(() => stopServers());

  it('makes the handler run out of time, which counts no attempt; the event is handled once it answers', async () => {
    const server = await startServer('postgres');
    const world = await World.create('postgres', { HANDLER_TIMEOUT_MS: '1000' }, server.env['DATABASE_URL']);
    try {
      const begun = gate();
      const attempts: number[] = [];
      const instance = await world.start([
        {
          group: 'one',
          handle: (_event, { attempt, once }) =>
            once(async (tx) => {
              attempts.push(attempt);
              await tx.$queryRaw`SELECT 1`;
              if (attempts.length > 1) return;
              begun.open();
              await eventually(() => expect(frozen).toBe(true));
              await tx.$queryRaw`SELECT 2`;
            }),
        },
      ]);
      let frozen = false;
      const answers = jest.spyOn(instance.database, 'answers');
      await world.emit(instance, [thing(randomUUID(), 1)]);
      await begun.opened;
      server.freeze();
      frozen = true;
      await eventually(() => expect(answers).toHaveBeenCalled());
      expect(await answers.mock.results[0]?.value).toBe(false);
      server.thaw();
      await eventually(async () => expect(await world.count('inbox')).toBe(1));
      expect(attempts).toEqual([1, 1]);
      expect(await world.deadLetters()).toEqual([]);
      expect(await world.count('parked_event')).toBe(0);
    } finally {
      server.thaw();
      await world.destroy();
      await server.dispose();
    }
  });
});
