import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { bucketOf } from '../../src/messaging/event/key-hash.js';
import { brokersUnderTest, stopServers } from '../support/brokers-under-test.js';
import { eventually } from '../support/eventually.js';
import { thing, THING } from '../support/things.js';
import { World } from '../support/world.js';

describe.each(brokersUnderTest())('a row of the outbox that is no event, with %s', (broker) => {
  let world: World;
  beforeEach(async () => {
    world = await World.create(broker);
  });
  afterEach(() => world.destroy());
  afterAll(() => stopServers());

  it.each(['no json', '[]', '{"ce_id": 1}'])('with the headers %s holds up its own key only, and a person can see why', async (headers) => {
    const seen: string[] = [];
    const instance = await world.start([
      { group: 'one', handle: ({ data }) => Promise.resolve(void seen.push(`${data.thingId === good ? 'good' : 'bad'} ${data.n}`)) },
    ]);
    const bad = randomUUID();
    const good = randomUUID();
    await world.database.query(
      `INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload) VALUES ($1, $2, $3, $4, $5, $6, 'payload')`,
      [bucketOf(bad, 16), randomUUID(), THING.topic, THING.type, bad, headers],
    );
    await world.emit(instance, [thing(bad, 1), thing(good, 1), thing(good, 2)]);
    await eventually(() => expect(seen).toEqual(['good 1', 'good 2']));
    const reason = /headers are no JSON object/;
    if (broker === 'postgres') {
      await eventually(async () => {
        const [letter] = await world.database.query('SELECT reason, error, key, payload FROM dead_letter');
        expect(letter).toMatchObject({
          reason: 'undeliverable',
          error: expect.stringMatching(reason),
          key: bad,
          payload: Buffer.from('payload'),
        });
      });
      await eventually(async () => expect(await world.count('parked_event')).toBe(1));
    } else {
      await eventually(async () => {
        expect(await world.database.query('SELECT key, reason FROM outbox_held_key')).toEqual([
          { key: bad, reason: expect.stringMatching(reason) as unknown },
        ]);
      });
      await eventually(async () => expect(await world.count('outbox')).toBe(2)); // the good ones' rows go after their proof
    }
    expect(seen).toEqual(['good 1', 'good 2']);
  });
});
