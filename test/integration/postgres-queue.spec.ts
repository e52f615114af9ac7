import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { bucketOf } from '../../src/messaging/event/key-hash.js';
import type { IncomingMessage, OutgoingMessage, Settlement } from '../../src/messaging/transport/broker-adapter.js';
import { stopServers } from '../support/brokers-under-test.js';
import { eventually } from '../support/eventually.js';
import { THING } from '../support/things.js';
import { World } from '../support/world.js';

const LANES = 16;

describe('a queue of the postgres broker', () => {
  let world: World;
  beforeEach(async () => {
    world = await World.create('postgres', { OUTBOX_LEASE_MS: '1000', OUTBOX_LANES: String(LANES) });
  });
  afterEach(() => world.destroy());
  afterAll(() => stopServers());

  it('hands nothing over from a lane that was lost and regained before what was in hand then has gone back', async () => {
    const instance = await world.start([{ group: 'one', handle: () => Promise.resolve() }], { roles: ['relay'] });
    const key = randomUUID();
    const other = otherLane(key);
    const delivered: { message: IncomingMessage; settle: (settlement: Settlement) => void }[] = [];
    const active = await instance.adapter.subscribe(
      { group: 'one', topic: THING.topic },
      (message) => new Promise((settle) => delivered.push({ message, settle })),
      { maxInFlight: 10, onDown: () => undefined },
    );
    const publish = async (name: string, itsKey: string): Promise<void> => {
      expect(await instance.adapter.publish([messageOf(name, itsKey)])).toEqual([undefined]);
    };
    const names = (): string[] => delivered.map(({ message }) => message.payload.toString());

    await publish('first', key);
    await publish('second', key);
    await eventually(() => expect(names()).toEqual(['first', 'second']));
    const lane = bucketOf(key, LANES);
    const take = `UPDATE lane_lease SET owner = $2, leased_until = now() + interval '1 hour' WHERE pool LIKE 'queue:%' AND lane = $1`;
    await world.database.query(take, [lane, 'another instance']);
    await eventually(() => expect(delivered.map(({ message }) => message.signal.aborted)).toEqual([true, true]));
    await world.database.query(`UPDATE lane_lease SET leased_until = now() WHERE pool LIKE 'queue:%' AND lane = $1`, [lane]);
    await eventually(async () => {
      const [row] = await world.database.query<{ owner: string }>(`SELECT owner FROM lane_lease WHERE pool LIKE 'queue:%' AND lane = $1`, [
        lane,
      ]);
      expect(row?.owner).not.toBe('another instance');
    });
    await publish('third', key);
    await publish('elsewhere', other); // what is read after this was read after the third came, too
    await eventually(() => expect(names()).toEqual(['first', 'second', 'elsewhere']));
    for (const { settle } of delivered.splice(0)) settle('release');
    await eventually(() => expect(names().filter((name) => name !== 'elsewhere')).toEqual(['first', 'second', 'third']));
    for (const { settle } of delivered) settle('settled');
    await active.close();
    expect(await world.count('queued_message')).toBe(0);
  });
});

function otherLane(key: string): string {
  for (;;) {
    const other = randomUUID();
    if (bucketOf(other, LANES) !== bucketOf(key, LANES)) return other;
  }
}

function messageOf(name: string, key: string): OutgoingMessage {
  return { eventId: randomUUID(), topic: THING.topic, type: THING.type, key, headers: {}, payload: Buffer.from(name) };
}
