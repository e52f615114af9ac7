import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { readConfig } from '../../src/config/read-config.js';
import type { DatabasePool } from '../../src/database/database-pool.js';
import { Database, type Transaction } from '../../src/database/database.js';
import type { Handler } from '../../src/messaging/consumer/consumer-registry.js';
import { Inbox } from '../../src/messaging/consumer/inbox.js';
import { groupedOnce, type Once } from '../../src/messaging/consumer/once.js';
import { createLogger } from '../../src/observability/create-logger.js';
import { stopServers } from '../support/brokers-under-test.js';
import { freshDatabase, type FreshDatabase } from '../support/fresh-database.js';

const GROUP = 'one';
const EVENTS = 6;

describe('events that are marked together', () => {
  let fresh: FreshDatabase;
  let database: Database;
  let once: Once;
  let ids: string[];
  const handler = { name: 'Handler' } as Handler;

  beforeEach(async () => {
    fresh = await freshDatabase();
    await fresh.query('CREATE TABLE effect (event_id uuid PRIMARY KEY)');
    const config = readConfig({ DATABASE_POOL_SIZE: '2' });
    database = new Database(config, fresh.url, createLogger(config, { write: () => undefined }));
    once = groupedOnce(database, new Inbox(database, {} as DatabasePool), GROUP, () => undefined);
    ids = Array.from({ length: EVENTS }, () => randomUUID());
  });
  afterEach(async () => {
    await database.onModuleDestroy();
    await fresh.drop();
  });
  afterAll(() => stopServers());

  class HandledBefore extends Error {}
  const handle = (id: string, work: (tx: Transaction, id: string) => Promise<unknown>): Promise<unknown> =>
    once({ handler, eventIds: [id] }, async (tx, mark) => {
      mark(() => {
        throw new HandledBefore(id);
      });
      await work(tx, id);
    });
  const note = (tx: Transaction, id: string): Promise<number> => tx.$executeRaw`INSERT INTO effect (event_id) VALUES (${id}::uuid)`;
  const idsIn = async (table: 'effect' | 'inbox'): Promise<string[]> =>
    (await fresh.query<{ id: string }>(`SELECT event_id AS id FROM ${table}`)).map(({ id }) => id).sort();

  const twice = async (tx: Transaction, id: string): Promise<void> => {
    await tx.$queryRaw`SELECT 1`;
    await note(tx, id);
  };
  it.each<[string, (tx: Transaction, id: string) => Promise<unknown>]>([
    ['one statement', note],
    ['one statement after another', twice],
    ['one statement, and go on though it fails', (tx, id) => note(tx, id).catch(() => undefined)],
    ['one statement, and fail with an error of their own', (tx, id) => note(tx, id).catch(() => Promise.reject(new Error('no effect')))],
    [
      'what Prisma builds',
      async (tx, id) => {
        await tx.stockItem.findMany();
        await note(tx, id);
      },
    ],
  ])('have their effect once where one was handled meanwhile, when their handlers ask %s', async (_what, work) => {
    const [, , other = ''] = ids;
    await fresh.query('INSERT INTO inbox (group_name, event_id) VALUES ($1, $2)', [GROUP, other]);
    const outcomes = await Promise.allSettled(ids.map((id) => handle(id, work)));
    expect(outcomes.map((outcome) => (outcome.status === 'rejected' ? (outcome.reason as unknown) : 'handled'))).toEqual(
      ids.map((id) => (id === other ? new HandledBefore(id) : 'handled')),
    );
    expect(await idsIn('effect')).toEqual(ids.filter((id) => id !== other).sort());
    expect(await idsIn('inbox')).toEqual([...ids].sort());
  });

  it('are refused where one was handled meanwhile and their handlers ask nothing', async () => {
    const [first = '', second = ''] = ids;
    await fresh.query('INSERT INTO inbox (group_name, event_id) VALUES ($1, $2)', [GROUP, first]);
    const outcomes = await Promise.allSettled([first, second].map((id) => handle(id, () => Promise.resolve())));
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
    expect(await idsIn('inbox')).toEqual([first, second].sort());
  });
});
