import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { InvalidEventError } from '../../src/messaging/index.js';
import { brokersUnderTest, stopServers } from '../support/brokers-under-test.js';
import { eventually } from '../support/eventually.js';
import { thing } from '../support/things.js';
import { World } from '../support/world.js';

describe.each(brokersUnderTest())('the outbox, with %s', (broker) => {
  let world: World;
  beforeEach(async () => {
    world = await World.create(broker);
  });
  afterEach(() => world.destroy());
  afterAll(() => stopServers());

  it('an event is published if its transaction commits, and never if it does not', async () => {
    await world.database.query('CREATE TABLE change (n int PRIMARY KEY)');
    await world.database.query('CREATE TABLE checked_late (n int REFERENCES change DEFERRABLE INITIALLY DEFERRED)');
    const seen: number[] = [];
    const handle = ({ data }: { data: { n: number } }): Promise<void> => Promise.resolve(void seen.push(data.n));
    const instance = await world.start([{ group: 'one', handle }]);
    const key = randomUUID();
    const change = (n: number, fail?: () => unknown): Promise<void> =>
      instance.database.transaction(async (tx) => {
        await tx.$executeRaw`INSERT INTO change VALUES (${n})`;
        instance.outbox.emit(tx, thing(key, n));
        await fail?.();
      });

    await change(1);
    await expect(change(2, () => Promise.reject(new Error('the business says no')))).rejects.toThrow('the business says no');
    await expect(change(1)).rejects.toThrow(); // the database says no
    await change(3);
    const invalid = change(4, () => instance.database.transaction((tx) => Promise.resolve(instance.outbox.emit(tx, thing('no uuid', 4)))));
    await expect(invalid).rejects.toThrow(InvalidEventError);
    const refusedAtCommit = instance.database.transaction(async (tx) => {
      await tx.$executeRaw`INSERT INTO checked_late VALUES (99)`;
      instance.outbox.emit(tx, thing(key, 99));
    });
    await expect(refusedAtCommit).rejects.toThrow(); // when the events have been written already
    await change(5);

    // A key keeps its order: when the last one is here, everything before it would be, too.
    await eventually(() => expect(seen.at(-1)).toBe(5));
    expect(seen).toEqual([1, 3, 5]);
    const rows = await world.database.query<{ n: number }>('SELECT n FROM change ORDER BY n');
    expect(rows.map(({ n }) => n)).toEqual([1, 3, 5]);
    await eventually(async () => expect(await world.count('outbox')).toBe(0));
  });

  it('a message at rest is nowhere else: what is committed while nobody publishes arrives when somebody does', async () => {
    const seen: number[] = [];
    const handler = { group: 'one', handle: ({ data }: { data: { n: number } }): Promise<void> => Promise.resolve(void seen.push(data.n)) };
    const writer = await world.start([handler], { roles: ['http'] });
    const key = randomUUID();
    for (let n = 0; n < 5; n++) await world.emit(writer, [thing(key, n)]);
    await writer.stop();
    expect(await world.count('outbox')).toBe(5);
    expect(seen).toEqual([]);
    await world.start([handler]);
    await eventually(() => expect(seen).toEqual([0, 1, 2, 3, 4]));
  });
});
