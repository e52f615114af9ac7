import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { AppProcess } from '../support/app-process.js';
import { stopServers } from '../support/brokers-under-test.js';
import { eventually } from '../support/eventually.js';
import { freshDatabase, type FreshDatabase } from '../support/fresh-database.js';
import { TcpProxy } from '../support/tcp-proxy.js';

describe('a boot while the database is away', () => {
  let database: FreshDatabase;
  let proxy: TcpProxy;

  beforeEach(async () => {
    database = await freshDatabase();
    proxy = await TcpProxy.start({ port: Number(new URL(database.url).port) });
  });
  afterEach(async () => {
    await proxy.end();
    await database.drop();
  });
  afterAll(() => stopServers());

  const start = (): Promise<AppProcess> => AppProcess.start({ BROKER: 'postgres', DATABASE_URL: proxy.through(database.url) });

  it('waits for it', async () => {
    await proxy.set('reset');
    const starting = start();
    await eventually(() => expect(proxy.counts.broken).toBeGreaterThan(1)); // it has tried again
    await proxy.set('ok');
    const app = await starting;
    expect(app.output).toContain('the database cannot be reached; waiting for it');
    expect(await app.end('SIGTERM')).toBe(0);
  });

  // In the migrations, the catalogue, the leases.
  it.each([1, 3, 6])('goes through where every connection breaks once it has opened %i', async (opened) => {
    const starting = start();
    await eventually(() => expect(proxy.counts.connections).toBeGreaterThanOrEqual(opened), { everyMs: 1 });
    await proxy.set('reset');
    await proxy.set('ok');
    const app = await starting;
    expect(proxy.counts.broken).toBeGreaterThan(0);
    expect(await app.end('SIGTERM')).toBe(0);
  });
});
