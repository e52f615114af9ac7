import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { LaneLeases } from '../../src/messaging/lane/lane-leases.js';
import { OutboxTable, type OutboxRow } from '../../src/messaging/outbox/outbox-table.js';
import { Parking, type ParkableEvent, type ParkedHead } from '../../src/messaging/consumer/parking.js';
import type { Logger } from '../../src/observability/logger.js';
import { ModelServer } from './model-server.js';
import { seeded, SimulatedProcess, VirtualTime } from './virtual-time.js';

const LANES = 4;
const LEASE_MS = 8000;
const EVENT_IDS = ['00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002'] as const;

/** What an instance that stood still too long must not do when it goes on, said exactly; the histories of chance meet it by luck. */
describe('fences against an instance that was frozen', () => {
  let time: VirtualTime;
  let server: ModelServer;
  beforeEach(() => {
    time = new VirtualTime(seeded(1));
    server = new ModelServer(time, seeded(1), 10_000);
    time.install();
  });
  afterEach(() => time.remove());

  async function end<T>(work: Promise<T>): Promise<T> {
    let done = false;
    work.then(
      () => (done = true),
      () => (done = true),
    );
    await time.until(() => done, time.now + 60_000);
    return work;
  }
  const pass = (ms: number): Promise<boolean> => time.until(() => false, time.now + ms);

  describe('lanes', () => {
    const silent = { warn: () => undefined, debug: () => undefined } as unknown as Logger;
    const leases = (owner: string): LaneLeases =>
      new LaneLeases(server.pool(), { pool: 'outbox', lanes: LANES, owner, leaseMs: LEASE_MS, logger: silent, onChange: () => undefined });
    const epochs = (): unknown[] => server.storage.all('lane_lease').map(({ epoch }) => epoch);

    it('an owner that renews keeps its lanes, and nobody else has them', async () => {
      const [one, two] = [leases('one'), leases('two')] as const;
      await end(one.start());
      expect(one.owned()).toHaveLength(LANES);
      await end(two.start());
      await pass(3 * LEASE_MS);
      const before = epochs();
      for (let i = 0; i < 40; i++) {
        await pass(LEASE_MS / 4);
        const both = [...one.owned(), ...two.owned()];
        expect(both.sort((a, b) => a - b)).toEqual([0, 1, 2, 3]);
        expect(one.owned()).toHaveLength(LANES / 2);
        for (const { leased_until: until } of server.storage.all('lane_lease')) expect(until).toBeGreaterThan(time.now);
      }
      expect(epochs()).toEqual(before);
    });

    it('nobody works on lanes whose lease could not be renewed in time', async () => {
      const one = leases('one');
      await end(one.start());
      server.awayUntil = time.now + 3 * LEASE_MS;
      await pass(LEASE_MS / 2);
      expect(one.owned()).toHaveLength(LANES);
      await pass(LEASE_MS / 2 + 10);
      expect(one.owned()).toEqual([]);
      expect(one.holds(0)).toBe(false);
      await pass(3 * LEASE_MS);
      expect(one.owned()).toHaveLength(LANES);
    });

    it('lanes of an instance that is gone are taken over when its lease has run out, and not before', async () => {
      const [one, two] = [leases('one'), leases('two')] as const;
      const process = new SimulatedProcess('one');
      time.schedule(0, () => void one.start(), process);
      await time.until(() => one.owned().length === LANES, time.now + 1000);
      process.dead = true;
      const frozenAt = time.now;
      await end(two.start());
      await time.until(() => two.owned().length > 0, time.now + 10 * LEASE_MS);
      expect(time.now - frozenAt).toBeGreaterThan(LEASE_MS * 0.9);
      expect(time.now - frozenAt).toBeLessThan(LEASE_MS * 2);
      await time.until(() => two.owned().length === LANES, time.now + 10 * LEASE_MS);
      expect(two.owned()).toHaveLength(LANES);
    });
  });

  describe('parked keys', () => {
    const event = (index: 0 | 1): ParkableEvent => ({
      group: 'one',
      topic: 'a.topic',
      key: 'a key',
      eventId: EVENT_IDS[index],
      headers: { ce_type: 'a.thing.happened' },
      payload: Buffer.from('{}'),
    });

    it('whoever has lost its lease on a key changes nothing of it', async () => {
      const parking = new Parking(server.database(10_000), () => undefined);
      await end(parking.park(event(0), 1, 0, 'failed'));
      expect(await end(parking.parkBehind(event(1)))).toBe(true);
      const [frozen] = await end(parking.claim(['one'], 1, LEASE_MS));
      const frozenHead = (await end(parking.head(frozen as NonNullable<typeof frozen>))) as ParkedHead;
      expect(await end(parking.claim(['one'], 1, LEASE_MS))).toEqual([]);
      await pass(LEASE_MS + 1);
      const [other] = await end(parking.claim(['one'], 1, LEASE_MS));
      const head = (await end(parking.head(other as NonNullable<typeof other>))) as ParkedHead;
      expect(head.eventId).toBe(EVENT_IDS[0]);

      const before = JSON.stringify([server.storage.all('parked_event'), server.storage.all('parked_key')]);
      expect(await end(parking.head(frozen as NonNullable<typeof frozen>))).toBeUndefined();
      expect(await end(parking.failed(frozenHead, 9, 60_000, 'too late'))).toBe(false);
      expect(await end(parking.exhausted(frozenHead, 9, 'attempts_exhausted', 'too late'))).toBe(false);
      expect(await end(parking.succeeded(frozenHead))).toBe(false);
      await end(parking.renew([frozenHead], 100 * LEASE_MS));
      await end(parking.release(frozenHead));
      expect(JSON.stringify([server.storage.all('parked_event'), server.storage.all('parked_key')])).toBe(before);
      expect(server.storage.all('dead_letter')).toEqual([]);

      expect(await end(parking.succeeded(head))).toBe(true);
      expect(server.storage.all('parked_event').map(({ event_id: id }) => id)).toEqual([EVENT_IDS[1]]);
    });
  });

  describe('rows of the outbox', () => {
    it('whoever has lost its lease on a lane parks nothing of it', async () => {
      const pool = server.pool();
      const table = new OutboxTable(pool);
      await end(
        pool.query('INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload) VALUES (0, $1, $2, $3, $4, $5, $6)', [
          EVENT_IDS[0],
          'a.topic',
          'a.thing.happened',
          'a key',
          '{}',
          '{}',
        ]),
      );
      const [row] = (await end(table.read([0], ['0'], 10, [], []))) as [OutboxRow];
      const lease = (owner: string, leasedUntil: Date): Promise<unknown> =>
        end(
          pool.query(
            'INSERT INTO lane_lease (pool, lane, owner, leased_until) VALUES ($1, $2, $3, $4) ON CONFLICT (pool, lane) DO UPDATE SET owner = excluded.owner, leased_until = excluded.leased_until',
            ['outbox', 0, owner, leasedUntil.getTime()],
          ),
        );
      await lease('other', new Date(time.now + LEASE_MS));
      expect(await end(table.park(row, 'park', 'refused', 'frozen'))).toBe(0);
      expect(await end(table.park(row, 'skip', 'refused', 'frozen'))).toBe(0);
      await lease('frozen', new Date(time.now - 1));
      expect(await end(table.park(row, 'park', 'refused', 'frozen'))).toBe(0);
      expect(server.storage.all('outbox')).toHaveLength(1);
      await lease('frozen', new Date(time.now + LEASE_MS));
      expect(await end(table.park(row, 'park', 'refused', 'frozen'))).toBe(1);
      expect(server.storage.all('outbox')).toEqual([]);
      expect(server.storage.all('outbox_parked')).toHaveLength(1);
    });
  });
});
