import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { EventEmitter } from 'node:events';
import pg from 'pg';
import { readConfig } from '../../src/config/read-config.js';
import { Database, type Transaction } from '../../src/database/database.js';
import { sendTogether } from '../../src/database/pipeline.js';
import { TransactionEndedError, type TransactionPool } from '../../src/database/transaction-pool.js';
import { freePort } from '../../scripts/lib/ports.mjs';
import { createLogger } from '../../src/observability/create-logger.js';
import { eventually, gate } from '../support/eventually.js';
import { stopServers } from '../support/brokers-under-test.js';
import { freshDatabase, type FreshDatabase } from '../support/fresh-database.js';

describe('transactions', () => {
  let fresh: FreshDatabase;
  let database: Database;
  let lines: string[];
  /** Messages that the server has answered, over all connections of the domain. */
  let roundTrips: number;
  const opened: Database[] = [];

  const open = (env: Record<string, string> = {}): Database => {
    const config = readConfig({ DATABASE_POOL_SIZE: '2', ...env });
    const one = new Database(config, fresh.url, createLogger(config, { write: (line) => void lines.push(line) }));
    const { pool } = one as unknown as { pool: TransactionPool };
    pool.on('connect', (client) => {
      const { connection } = client as unknown as { connection: EventEmitter };
      connection.on('readyForQuery', () => roundTrips++);
    });
    opened.push(one);
    return one;
  };
  const change = (tx: Transaction, n: number): Promise<number> => tx.$executeRaw`INSERT INTO change (n) VALUES (${n})`;
  const changes = async (): Promise<number[]> => (await fresh.query<{ n: number }>('SELECT n FROM change ORDER BY n')).map(({ n }) => n);

  beforeEach(async () => {
    fresh = await freshDatabase();
    await fresh.query('CREATE TABLE change (n int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), note jsonb, size bigint)');
    lines = [];
    database = open();
    await database.transaction((tx) => change(tx, 0)); // connects
    roundTrips = 0;
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((one) => one.onModuleDestroy()));
    await fresh.drop();
  });
  afterAll(() => stopServers());

  it('take a round trip for each statement, and one for what is left for the end and the commit', async () => {
    await database.transaction(async (tx) => {
      await change(tx, 1);
      await change(tx, 2);
      database.atCommit(tx, 'INSERT INTO change (n) VALUES ($1)', [3]);
    });
    expect(roundTrips).toBe(3);
    await database.transaction((tx) => Promise.resolve(database.atCommit(tx, 'INSERT INTO change (n) VALUES ($1)', [4])));
    expect(roundTrips).toBe(4);
    await database.transaction(() => Promise.resolve());
    expect(roundTrips).toBe(4);
    expect(await changes()).toEqual([0, 1, 2, 3, 4]);
  });

  describe('with a statement that goes ahead of the next', () => {
    const refused = new Error('it has been there before');
    const ahead = (tx: Transaction, n: number): void =>
      database.ahead(tx, 'INSERT INTO change (n) VALUES ($1) ON CONFLICT DO NOTHING', [n], ({ rowCount }) => {
        if (rowCount !== 1) throw refused;
      });

    it('take no round trip for it', async () => {
      await database.transaction(async (tx) => {
        ahead(tx, 1);
        await change(tx, 2);
        database.atCommit(tx, 'INSERT INTO change (n) VALUES ($1)', [3]);
      });
      expect(roundTrips).toBe(2);
      expect(await changes()).toEqual([0, 1, 2, 3]);
    });

    it('never commit what it refuses, whatever else they do', async () => {
      const works: ((tx: Transaction) => Promise<unknown>)[] = [
        (tx) => change(tx, 1),
        () => Promise.resolve(),
        (tx) => Promise.resolve(database.atCommit(tx, 'INSERT INTO change (n) VALUES ($1)', [1])),
        (tx) => change(tx, 0), // fails for the same reason
        (tx) => tx.$queryRaw`SELECT nothing FROM nowhere`,
        (tx) => change(tx, 1).catch(() => undefined), // the work goes on regardless
        (tx) => change(tx, 1).catch(() => change(tx, 2)),
        (tx) => database.query(tx, 'INSERT INTO change (n) VALUES ($1)', [1]),
      ];
      for (const work of works)
        await expect(
          database.transaction((tx) => {
            ahead(tx, 0);
            return work(tx);
          }),
        ).rejects.toBe(refused);
      expect(await changes()).toEqual([0]);
      // What Prisma builds fails with an error of Prisma's.
      const built = database.transaction((tx) => {
        ahead(tx, 0);
        return tx.stockItem.create({ data: { sku: 'a', name: 'A', price: 1n, currency: 'EUR', onHand: 1n } });
      });
      await expect(built).rejects.toThrow();
      expect(await fresh.query('SELECT 1 FROM stock_item WHERE sku = $1', ['a'])).toEqual([]);
      // The connections are in order after all of that, and are the same.
      roundTrips = 0;
      await Promise.all([1, 2, 3, 4].map((n) => database.transaction((tx) => change(tx, n))));
      expect(roundTrips).toBe(8);
    });

    it('wait there for a twin, and see whether it has committed', async () => {
      const twin = (work: () => Promise<void>): Promise<number> =>
        database.transaction(async (tx) => {
          ahead(tx, 7);
          await change(tx, 8);
          await work();
          return 1;
        });
      for (const ends of ['commits', 'rolls back'] as const) {
        const [inside, end] = [gate(), gate()];
        const one = twin(async () => {
          inside.open();
          await end.opened;
          if (ends === 'rolls back') throw new Error('not this time');
        });
        await inside.opened;
        const other = twin(() => Promise.resolve());
        await eventually(async () =>
          expect(
            await fresh.query("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"),
          ).toHaveLength(1),
        );
        end.open();
        if (ends === 'commits') await expect(Promise.allSettled([one, other])).resolves.toMatchObject([{ value: 1 }, { reason: refused }]);
        else await expect(Promise.allSettled([one, other])).resolves.toMatchObject([{ status: 'rejected' }, { value: 1 }]);
        await fresh.query('DELETE FROM change WHERE n > 0');
      }
    });
  });

  it('are atomic: all of it, or nothing when the work, a statement, the last one or the commit fails', async () => {
    const refused = (work: (tx: Transaction) => Promise<unknown>): Promise<void> => expect(database.transaction(work)).rejects.toThrow();
    await fresh.query('CREATE TABLE checked_late (n int REFERENCES change DEFERRABLE INITIALLY DEFERRED)');
    await refused(async (tx) => {
      await change(tx, 1);
      throw new Error('the work says no');
    });
    await refused(async (tx) => {
      await change(tx, 1);
      await change(tx, 0);
    });
    await refused(async (tx) => {
      await change(tx, 1);
      database.atCommit(tx, 'INSERT INTO change (n) VALUES ($1)', [2]);
      database.atCommit(tx, 'INSERT INTO change (n) VALUES ($1)', [0]);
    });
    await refused(async (tx) => {
      await change(tx, 1);
      await tx.$executeRaw`INSERT INTO checked_late VALUES (99)`;
    });
    expect(await changes()).toEqual([0]);
    // The connections are in order after all of that.
    await Promise.all([1, 2, 3, 4].map((n) => database.transaction((tx) => change(tx, n))));
    expect(await changes()).toEqual([0, 1, 2, 3, 4]);
  });

  it('are not told to have been committed when a statement failed and the work went on regardless', async () => {
    const swallowing = database.transaction(async (tx) => {
      await change(tx, 1);
      await change(tx, 0).catch(() => undefined);
    });
    await expect(swallowing).rejects.toThrow(/nothing was committed/);
    expect(await changes()).toEqual([0]);
  });

  it('run anew after a conflict, and isolate what they read until they end', async () => {
    await change(database.prisma, 1);
    let tries = 0;
    const swap = (first: number, second: number, meanwhile: () => Promise<unknown>): Promise<void> =>
      database.transaction(async (tx) => {
        tries++;
        await tx.$executeRaw`UPDATE change SET size = 1 WHERE n = ${first}`;
        await meanwhile();
        await tx.$executeRaw`UPDATE change SET size = 1 WHERE n = ${second}`;
      });
    let here = 0;
    const bothHere = async (): Promise<void> => {
      here++;
      while (here < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    await Promise.all([swap(0, 1, bothHere), swap(1, 0, bothHere)]);
    expect(tries).toBe(3);
  });

  describe('of events, where all connections are in use', () => {
    /** Transactions that each hold a connection, or wait for one, until they are let go. */
    const handlings = (count: number) => {
      const begun: number[] = [];
      const gates = Array.from({ length: count }, () => gate());
      const ends = gates.map(({ opened: letGo }, index) =>
        database.asEvent(() =>
          database.transaction(async (tx) => {
            await change(tx, index + 1);
            begun.push(index);
            await letGo;
          }),
        ),
      );
      return { begun, letGo: (index: number) => gates[index]?.open(), ends: Promise.all(ends) };
    };

    it('let a request have the next connection, in a transaction and outside of one', async () => {
      const { begun, letGo, ends } = handlings(6);
      await eventually(() => expect([begun, database.waitingOf('event')]).toEqual([[0, 1], 4]));
      const requests = Promise.all([database.transaction((tx) => change(tx, 100)), database.prisma.$queryRaw`SELECT 1`]);
      await eventually(() => expect(database.waitingOf('request')).toBe(2));
      letGo(0);
      await requests; // they would not end if another event had the connection: none of the others is let go
      for (let index = 1; index < 6; index++) letGo(index);
      await ends;
      expect(await changes()).toEqual([0, 1, 2, 3, 4, 5, 6, 100]);
    });

    it('give their connections back whatever becomes of them', async () => {
      const { pool } = database as unknown as { pool: TransactionPool };
      const lost = Array.from({ length: 6 }, (_, index) =>
        database.asEvent(() =>
          database.transaction((tx) =>
            index % 2 === 0 ? tx.$executeRaw`SELECT pg_terminate_backend(pg_backend_pid())` : tx.$executeRaw`SELECT nothing FROM nowhere`,
          ),
        ),
      );
      expect((await Promise.allSettled(lost)).map(({ status }) => status)).toEqual(Array.from({ length: 6 }, () => 'rejected'));
      const { begun, letGo, ends } = handlings(3);
      await eventually(() => expect(begun).toEqual([0, 1]));
      expect(pool.totalCount).toBe(2);
      for (let index = 0; index < 3; index++) letGo(index);
      await ends;
      expect(database.waitingOf('event')).toBe(0);
    });
  });

  it('fail each at once while the server cannot be reached, and not for want of connections', async () => {
    const port = await freePort();
    const config = readConfig({ DATABASE_POOL_SIZE: '1' });
    const unreachable = new Database(
      config,
      `postgresql://nobody@127.0.0.1:${port}/nothing`,
      createLogger(config, { write: () => undefined }),
    );
    opened.push(unreachable);
    for (let n = 0; n < 3; n++)
      await expect(unreachable.transaction((tx) => change(tx, 1))).rejects.toThrow(/ECONNREFUSED|reach database server/);
  });

  it('refuse statements of the machinery once they have ended', async () => {
    let late: Transaction | undefined;
    await database.transaction(async (tx) => {
      await change(tx, 1);
      late = tx;
    });
    await expect(database.query(late as Transaction, 'SELECT 1', [])).rejects.toThrow(TransactionEndedError);
    await expect(database.query({} as Transaction, 'SELECT 1', [])).rejects.toThrow(/not begun by Database.transaction/);
    expect(() => database.atCommit({} as Transaction, 'SELECT 1', [])).toThrow(/not begun by Database.transaction/);
  });

  it('give Prisma what pg gives it, whether a statement is kept or not', async () => {
    const read = (one: Database): Promise<unknown[]> =>
      one.transaction(
        (tx) =>
          tx.$queryRaw`SELECT n, at, note, size, ${['a', null]}::text[] AS list, ${new Date(0)}::timestamptz AS day FROM change ORDER BY n`,
      );
    await fresh.query(`UPDATE change SET note = '{"a":[1,"ü"]}', size = 9007199254740993`);
    const unkept = await read(open({ DATABASE_PREPARED_STATEMENTS: 'false' }));
    expect(unkept).toMatchObject([{ n: 0, note: { a: [1, 'ü'] }, size: 9007199254740993n, list: ['a', null], day: new Date(0) }]);
    for (let time = 0; time < 6; time++) expect(await read(database)).toEqual(unkept);
  });

  it('have their statements kept by the server, and do without when it does not keep them', async () => {
    const kept = (one: Database): Promise<{ statement: string }[]> =>
      one.transaction((tx) => tx.$queryRaw`SELECT statement FROM pg_prepared_statements WHERE statement LIKE 'INSERT INTO change%'`);
    for (let n = 1; n <= 8; n++) await database.transaction((tx) => change(tx, n));
    expect(await kept(database)).not.toEqual([]);

    // As behind a pooler, where the next transaction meets another connection.
    for (let n = 0; n < 4; n++) await database.transaction((tx) => tx.$executeRaw`DEALLOCATE ALL`);
    await Promise.all([11, 12, 13, 14].map((n) => database.transaction((tx) => change(tx, n))));
    expect(await changes()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14]);
    expect(lines.filter((line) => line.includes('DATABASE_PREPARED_STATEMENTS=false'))).toHaveLength(1);

    const plain = open({ DATABASE_PREPARED_STATEMENTS: 'false' });
    for (let n = 21; n <= 28; n++) await plain.transaction((tx) => change(tx, n));
    expect(await kept(plain)).toEqual([]);
  });

  it('have their like outside of transactions, which do without too', async () => {
    for (let n = 1; n <= 8; n++) await change(database.prisma, n);
    for (let time = 0; time < 4; time++) await database.prisma.$executeRaw`DEALLOCATE ALL`;
    await Promise.all([11, 12, 13, 14].map((n) => change(database.prisma, n)));
    expect(await changes()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14]);
    expect(lines.filter((line) => line.includes('DATABASE_PREPARED_STATEMENTS=false'))).toHaveLength(1);
    await expect(change(database.prisma, 14)).rejects.toThrow(/Unique constraint|duplicate key/);
  });

  it('go on after a migration has changed what a kept statement answers', async () => {
    const all = (): Promise<unknown> => database.transaction((tx) => tx.$queryRaw`SELECT * FROM change`);
    for (let time = 0; time < 8; time++) await all();
    await fresh.query('ALTER TABLE change ADD COLUMN colour text');
    expect(await all()).toMatchObject([{ n: 0, colour: null }]);
  });

  describe('statements that are sent together', () => {
    let client: pg.Client;
    beforeEach(async () => {
      client = new pg.Client({ connectionString: fresh.url });
      await client.connect();
    });
    afterEach(() => client.end());

    it('answer each for itself', async () => {
      const results = await sendTogether(client, [
        { text: 'SELECT generate_series(1, $1::int) AS n', values: [2] },
        { text: '' },
        { text: 'INSERT INTO change (n) VALUES ($1), ($2)', values: [1, 2] },
        { text: 'SELECT n FROM change ORDER BY n', rowMode: 'array' },
      ]);
      expect(results.map(({ rows }) => rows as unknown[])).toEqual([[{ n: 1 }, { n: 2 }], [], [], [[0], [1], [2]]]);
      expect(results[2]?.rowCount).toBe(2);
    });

    it('stop at the first that fails: nothing runs behind a BEGIN that was refused, or commits behind an error', async () => {
      const insert = { text: 'INSERT INTO change (n) VALUES ($1)', values: [1], name: randomUUID() };
      await expect(sendTogether(client, [{ text: 'BEGIN ISOLATION LEVEL NONSENSE' }, insert])).rejects.toThrow(/syntax error/);
      await expect(sendTogether(client, [{ text: 'BEGIN' }, insert, { text: 'SELECT 1/0' }, { text: 'COMMIT' }])).rejects.toThrow(
        /division by zero/,
      );
      await client.query('ROLLBACK');
      expect(await changes()).toEqual([0]);
      // What had been parsed under its name before the error, and what had not, can both be sent again.
      const after = { text: 'SELECT 1/$1::int AS one', values: [0], name: randomUUID() };
      await expect(sendTogether(client, [after])).rejects.toThrow(/division by zero/);
      expect((await sendTogether(client, [insert, { ...after, values: [1] }]))[1]?.rows).toEqual([{ one: 1 }]);
    });

    it('refuse values that cannot be sent before anything is, and go on', async () => {
      const impossible = {
        toPostgres: (): never => {
          throw new Error('no such value');
        },
      };
      await expect(sendTogether(client, [{ text: 'SELECT 1' }, { text: 'SELECT $1::text', values: [impossible] }])).rejects.toThrow(
        'no such value',
      );
      expect((await sendTogether(client, [{ text: 'SELECT 2 AS two' }]))[0]?.rows).toEqual([{ two: 2 }]);
    });

    it('fail as a whole when the connection is lost', async () => {
      client.on('error', () => undefined); // pg tells of it here as well
      const lost = sendTogether(client, [{ text: 'SELECT pg_terminate_backend(pg_backend_pid())' }, { text: 'SELECT 1' }]);
      await expect(lost).rejects.toThrow(/terminating connection|Connection terminated/);
      await expect(sendTogether(client, [{ text: 'SELECT 1' }])).rejects.toThrow(/not queryable|Connection terminated|closed/);
    });
  });
});
