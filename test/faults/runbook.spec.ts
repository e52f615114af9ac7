import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { AppProcess } from '../support/app-process.js';
import { stopServers } from '../support/brokers-under-test.js';
import { eventually } from '../support/eventually.js';
import { RunningShop } from './running-shop.js';

/** What docs/operations.md says that the application prints, it prints. */
let shop: RunningShop;
let app: AppProcess;

beforeAll(async () => {
  shop = await RunningShop.open('postgres', { RETRY_MAX_ATTEMPTS: '2', OUTBOX_MAX_ATTEMPTS: '2' });
  app = await shop.start();
}, 60_000);
afterAll(async () => {
  await shop?.close();
  await stopServers();
});

const prints = (line: string): Promise<void> => eventually(() => expect(app.output).toContain(`"msg":"${line}"`));
const reasons = (): Promise<string> => app.get('/health/ready').then(({ status, body }) => `${status} ${body['detail'] ?? ''}`);

it('a group is paused', async () => {
  expect((await app.post('/ops/groups/notify/pause')).status).toBe(200);
  await prints('paused by an operator: nothing is consumed');
  expect((await app.all('/ops/groups')).filter(({ group }) => group === 'notify')).toMatchObject([{ paused: true, state: 'paused' }]);
  expect((await app.post('/ops/groups/notify/resume')).status).toBe(200);
  await eventually(async () =>
    expect((await app.all('/ops/groups')).filter(({ group }) => group === 'notify')).toMatchObject([{ paused: false, state: 'running' }]),
  );
});

it('a key is blocked', async () => {
  await shop.database.query(
    `INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload) VALUES (0, gen_random_uuid(), 'no.such', 'no.such.thing', 'k', '{}', '{}')`,
  );
  await prints('the broker refused an event; its key waits');
  await prints('the broker refuses an event; its key waits until that is mended');
  expect((await app.get('/ops/outbox')).body).toMatchObject({ blockedKeys: 1, backlog: 1 });
});

it('there are dead letters', async () => {
  await shop.place(app, 'tok_broken');
  await prints('the handler failed');
  await prints('dead letter: a person must replay or discard it');
});

it('the database is read-only', async () => {
  const name = new URL(shop.database.url).pathname.slice(1);
  await shop.database.query(`ALTER DATABASE ${name} SET default_transaction_read_only = on`);
  const disconnect = (): Promise<unknown> =>
    shop.database.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'waybill%'`,
    );
  await disconnect();
  await eventually(async () => expect(await reasons()).toMatch(/^503 .*PostgreSQL is read-only: nothing can be committed/));
  const { status, headers } = await app.post('/orders', {
    customerId: randomUUID(),
    items: [{ sku: 'widget', quantity: 1 }],
    paymentToken: 'tok_ok',
  });
  expect([status, Number(headers.get('retry-after')) > 0]).toEqual([503, true]);
  await prints('not healthy');
  await shop.database.query(`BEGIN; SET TRANSACTION READ WRITE; ALTER DATABASE ${name} RESET default_transaction_read_only; COMMIT`);
  await disconnect();
  await shop.database.query('SET default_transaction_read_only = off');
  await eventually(async () => expect(await reasons()).toBe('200 '));
  await prints('healthy again');
});

it('the disk of the database is full', async () => {
  // What PostgreSQL answers when it cannot extend a file, at every write of a lease.
  await shop.database.query(`
    CREATE FUNCTION fill_up() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'could not extend file "base/1/2": No space left on device' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON lane_lease FOR EACH ROW EXECUTE FUNCTION fill_up();
    CREATE TRIGGER full_disk BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION fill_up();`);
  await eventually(async () =>
    expect(await reasons()).toMatch(/^503 .*the leases on the lanes cannot be renewed: .*No space left on device/),
  );
  const { status } = await app.post('/orders', {
    customerId: randomUUID(),
    items: [{ sku: 'widget', quantity: 1 }],
    paymentToken: 'tok_ok',
  });
  expect(status).toBe(503);
  await shop.database.query('DROP TRIGGER full_disk ON lane_lease; DROP TRIGGER full_disk ON outbox');
  await eventually(async () => expect(await reasons()).toBe('200 '));
});
