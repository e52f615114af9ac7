import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { EventEmitter } from 'node:events';
import { IsInt, IsUUID } from 'class-validator';
import fc from 'fast-check';
import { readConfig } from '../../src/config/read-config.js';
import { isDatabaseUnavailable } from '../../src/database/database-errors.js';
import { Database, type Transaction } from '../../src/database/database.js';
import { Prisma } from '../../src/database/generated/client.js';
import { GroupedTransactions } from '../../src/database/grouped-transactions.js';
import { OutOfTurnError, PartFailedError } from '../../src/database/line-up.js';
import { DefineEvent } from '../../src/messaging/index.js';
import type { TransactionPool } from '../../src/database/transaction-pool.js';
import { createLogger } from '../../src/observability/create-logger.js';
import { stopServers } from '../support/brokers-under-test.js';
import { eventually, gate } from '../support/eventually.js';
import { freshDatabase, type FreshDatabase } from '../support/fresh-database.js';
import { thing } from '../support/things.js';
import { World, type Instance, type TestHandler } from '../support/world.js';

const ROWS = 3;
const range = (length: number): number[] => Array.from({ length }, (_, index) => index);
const later = (turns: number): Promise<void> =>
  turns === 0 ? Promise.resolve() : new Promise((go) => setImmediate(() => go(later(turns - 1))));

describe('parts of a transaction, side by side', () => {
  let fresh: FreshDatabase;
  let database: Database;
  let roundTrips: number;

  beforeEach(async () => {
    fresh = await freshDatabase();
    await fresh.query('CREATE TABLE counter (row int PRIMARY KEY, n int NOT NULL DEFAULT 0 CHECK (n < 1000))');
    await fresh.query(`INSERT INTO counter SELECT generate_series(0, ${ROWS - 1})`);
    const config = readConfig({ DATABASE_POOL_SIZE: '2' });
    database = new Database(config, fresh.url, createLogger(config, { write: () => undefined }));
    const { pool } = database as unknown as { pool: TransactionPool };
    pool.on('connect', (client) => {
      const { connection } = client as unknown as { connection: EventEmitter };
      connection.on('readyForQuery', () => roundTrips++);
    });
    await database.transaction((tx) => tx.$queryRaw`SELECT 1`); // connects
    roundTrips = 0;
  });
  afterEach(async () => {
    await database.onModuleDestroy();
    await fresh.drop();
  });
  afterAll(() => stopServers());

  const counters = async (): Promise<number[]> =>
    (await fresh.query<{ n: number }>('SELECT n FROM counter ORDER BY row')).map(({ n }) => n);
  const add = async (tx: Transaction, row: number, by = 1): Promise<number> => {
    const [found] = await tx.$queryRaw<{ n: number }[]>`UPDATE counter SET n = n + ${by} WHERE row = ${row} RETURNING n`;
    return found?.n as number;
  };
  const read = async (tx: Transaction, row: number): Promise<number> => {
    const [found] = await tx.$queryRaw<{ n: number }[]>`SELECT n FROM counter WHERE row = ${row}`;
    return found?.n as number;
  };
  const sideBySide = <T>(...parts: readonly ((part: Transaction) => Promise<T>)[]): Promise<T[]> =>
    database.transaction((tx) => database.sideBySide(tx, parts), { tries: 1 });

  it('begin together, and share one message to PostgreSQL, in which their statements are in their order', async () => {
    const trace: string[] = [];
    const found = await sideBySide(
      ...range(8).map((index) => async (part: Transaction) => {
        for (let turn = 0; turn < 40 - index * 5; turn++) await Promise.resolve(); // the last asks first
        trace.push('asks');
        const n = await add(part, 0);
        trace.push('answered');
        return n;
      }),
    );
    expect(found).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(trace).toEqual([...Array<string>(8).fill('asks'), ...Array<string>(8).fill('answered')]);
    expect(roundTrips).toBe(2); // BEGIN and all statements; COMMIT
    expect(await counters()).toEqual([8, 0, 0]);
  });

  it('are refused, with all of the transaction, where one asks again after a later one has asked', async () => {
    const lost = sideBySide(
      async (part) => void (await add(part, 0)),
      async (part) => {
        const n = await read(part, 1);
        await add(part, 1, n + 1).catch(() => undefined); // swallowed, it counts all the same
      },
      async (part) => void (await add(part, 1)),
    );
    await expect(lost).rejects.toMatchObject({ name: OutOfTurnError.name, part: 1 });
    expect(await counters()).toEqual([0, 0, 0]);
  });

  it('may ask several things at once, and the last one things after another', async () => {
    const found = await sideBySide<number | number[]>(
      (part) => Promise.all([add(part, 0), add(part, 1), read(part, 0)]),
      (part) => add(part, 0),
      async (part) => {
        const n = await read(part, 0);
        await later(2);
        return add(part, 0, n);
      },
    );
    expect(found).toEqual([[1, 1, 1], 2, 4]);
    expect(await counters()).toEqual([4, 1, 0]);
  });

  it('may ask late, or nothing', async () => {
    const found = await sideBySide<number>(
      (part) => add(part, 0),
      () => Promise.resolve(7),
      (part) => later(3).then(() => add(part, 0)),
    );
    expect(found).toEqual([1, 7, 2]);
    await expect(
      sideBySide(
        (part) => later(3).then(() => add(part, 0)),
        (part) => add(part, 0),
      ),
    ).rejects.toMatchObject({ name: OutOfTurnError.name, part: 0 });
    expect(await counters()).toEqual([2, 0, 0]);
  });

  const notInLine: readonly (readonly [string, (part: Transaction) => unknown])[] = [
    ['a model of Prisma', (part) => part.order],
    ['text as SQL', (part) => Reflect.get(part, '$queryRawUnsafe') as unknown],
    ['a statement past Prisma', (part) => database.query(part, 'SELECT 1', [])],
    ['a value that is not plain', (part) => part.$executeRaw`UPDATE counter SET n = ${new Prisma.Decimal(5)}`],
  ];
  it.each(notInLine)('have no turn for %s', async (_, ask) => {
    const lost = sideBySide<unknown>(
      (part) => add(part, 0),
      async (part) => ask(part),
    );
    await expect(lost).rejects.toMatchObject({ name: OutOfTurnError.name, part: 1 });
    expect(await counters()).toEqual([0, 0, 0]);
  });

  it('fail together, and it is told which one was at fault', async () => {
    const others: string[] = [];
    const other = (part: Transaction): Promise<unknown> => add(part, 0).then(String, (error: Error) => others.push(error.message));
    for (const swallow of [false, true]) {
      const failed = sideBySide<unknown>(other, (part) => (swallow ? add(part, 1, 5000).catch(() => 0) : add(part, 1, 5000)), other);
      await expect(failed).rejects.toMatchObject({ name: PartFailedError.name, part: 1, cause: { code: '23514' } });
    }
    expect(others).toHaveLength(4); // nobody goes on with an answer that does not count
    const own = sideBySide<unknown>(other, (part) => add(part, 1).then(() => Promise.reject(new Error('the business says no'))), other);
    await expect(own).rejects.toMatchObject({ name: PartFailedError.name, part: 1, cause: { message: 'the business says no' } });
    expect(await counters()).toEqual([0, 0, 0]);
  });

  it('share what becomes of the connection, which is nobody’s fault', async () => {
    const failed = sideBySide<unknown>(
      (part) => add(part, 0),
      (part) => part.$queryRaw`SELECT pg_terminate_backend(pg_backend_pid())`,
      (part) => add(part, 0),
    );
    const error: unknown = await failed.catch((reason: unknown) => reason);
    expect(isDatabaseUnavailable(error)).toBe(true);
    expect(await counters()).toEqual([0, 0, 0]);
    expect(await sideBySide((part) => add(part, 0))).toEqual([1]);
  });

  it('take what they have not waited for along, and can ask nothing once the transaction goes on', async () => {
    let stray: Transaction | undefined;
    await sideBySide<unknown>(
      (part) => Promise.resolve(void add(part, 0)),
      (part) => add(part, 0),
      (part) => Promise.resolve((stray = part) && undefined),
    );
    expect(await counters()).toEqual([2, 0, 0]);
    await expect(add(stray as Transaction, 0)).rejects.toMatchObject({ name: OutOfTurnError.name });
    expect(await counters()).toEqual([2, 0, 0]);
  });

  it('are what grouped transactions are made of: one that fails takes no other with it, and each has its own answer', async () => {
    const turns: string[] = [];
    const grouped = new GroupedTransactions(database, { onTurns: () => turns.push('turns') });
    const outcomes = await Promise.allSettled(
      range(20).map((index) =>
        grouped.run(async (tx) => {
          const n = await add(tx, 0, index === 7 ? 5000 : 1);
          if (index === 11) throw new Error('the business says no');
          return [index, n];
        }),
      ),
    );
    const found = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    expect(found.map(([index]) => index)).toEqual(range(20).filter((index) => index !== 7 && index !== 11));
    expect(found.map(([, n]) => n as number).sort((one, other) => one - other)).toEqual(range(18).map((index) => index + 1));
    expect(outcomes[7]).toMatchObject({ reason: { name: 'PrismaClientKnownRequestError' } });
    expect(outcomes[11]).toMatchObject({ reason: { message: 'the business says no' } });
    expect(await counters()).toEqual([18, 0, 0]);
    expect(turns).toEqual([]);
    const readThenWrite = async (tx: Transaction): Promise<number> => {
      const n = (await read(tx, 1)) + 1;
      await tx.$executeRaw`UPDATE counter SET n = ${n} WHERE row = 1`;
      return n;
    };
    // One group's worth: two groups would not wait for each other between reading and writing.
    const changed = await Promise.all(range(20).map(() => grouped.run(readThenWrite)));
    expect(changed).toEqual(range(20).map((index) => index + 1));
    expect(turns).toEqual(['turns']);
  });

  it('harm nobody else by holding on to the client of a part that is over', async () => {
    const grouped = new GroupedTransactions(database);
    let kept: Transaction | undefined;
    for (const row of [0, 1]) {
      const outcomes = await Promise.allSettled(
        range(8).map((index) =>
          grouped.run((tx) => {
            if (index === 3) kept ??= tx;
            return add(index === 3 ? (kept as Transaction) : tx, row);
          }),
        ),
      );
      const refused = outcomes.flatMap((outcome, index) =>
        outcome.status === 'rejected' ? [[index, (outcome.reason as Error).message]] : [],
      );
      expect(refused).toEqual(row === 0 ? [] : [[3, 'the transaction of which this was a part has ended']]);
    }
    expect(await counters()).toEqual([8, 7, 0]);
  });

  it('need not wait for their answer while another fails: Jest, as the application, ends at a rejection that nobody has handled', async () => {
    let failures = 0;
    const failed = sideBySide<unknown>(
      async (part) => {
        void part.$executeRaw`UPDATE counter SET n = n + 1`;
        await eventually(() => expect(failures).toBe(1));
        throw new Error('something else has failed too');
      },
      (part) => add(part, 0, 5000).finally(() => failures++),
    );
    await expect(failed).rejects.toMatchObject({ name: PartFailedError.name, part: 1 });
    expect(await counters()).toEqual([0, 0, 0]);
  });

  it('have the effect of one after the other, or none', async () => {
    const step = fc.record({
      row: fc.nat(ROWS - 1),
      write: fc.boolean(),
      /** Turns of the event loop before it, or at once with the one before it. */
      after: fc.constantFrom(undefined, 0, 1, 2),
    });
    const parts = fc.array(fc.array(step, { maxLength: 2 }), { minLength: 2, maxLength: 5 });
    let kept = 0;
    await fc.assert(
      fc.asyncProperty(parts, async (given) => {
        const before = await counters();
        const outcome = await sideBySide(
          ...given.map((steps) => async (part: Transaction) => {
            const answers: Promise<number>[] = [];
            for (const { row, write, after } of steps) {
              if (after !== undefined) {
                await Promise.all(answers);
                await later(after);
              }
              answers.push(write ? add(part, row) : read(part, row));
              answers.at(-1)?.catch(() => undefined);
            }
            return Promise.all(answers);
          }),
        ).catch((error: unknown) => error);
        if (outcome instanceof OutOfTurnError) return expect(await counters()).toEqual(before);
        kept++;
        const expected = [...before];
        const answers = given.map((steps) => steps.map(({ row, write }) => (write ? ++(expected[row] as number) : expected[row])));
        expect(outcome).toEqual(answers);
        expect(await counters()).toEqual(expected);
      }),
      { numRuns: 200 },
    );
    expect(kept).toBeGreaterThan(20);
    expect(kept).toBeLessThan(200);
  });
});

@DefineEvent({ type: 'conformance.count.reached', key: 'counterId' })
class CountReached {
  @IsUUID() counterId!: string;
  @IsInt() n!: number;
}

describe('handlers whose commits are grouped', () => {
  const EVENTS = 200;
  let world: World;
  beforeEach(async () => {
    world = await World.create('postgres');
    await world.database.query('CREATE TABLE counter (n int NOT NULL)');
    await world.database.query('INSERT INTO counter VALUES (0)');
  });
  afterEach(() => world.destroy());
  afterAll(() => stopServers());

  /** Has events of as many keys handled, which have waited for it. */
  async function handleAll(work: (tx: Transaction, instance: Instance) => Promise<void>): Promise<void> {
    const started = gate();
    const handler: TestHandler = {
      group: 'one',
      commit: 'grouped',
      handle: async (_, { once }) => {
        await started.opened;
        await once((tx) => work(tx, instance));
      },
    };
    const writer = await world.start([handler], { roles: ['relay'] });
    await world.emit(
      writer,
      range(EVENTS).map(() => thing(randomUUID(), 0)),
    );
    await eventually(async () => expect(await world.count('outbox')).toBe(0));
    await writer.stop();
    const instance = await world.start([handler], { roles: ['consumers'], env: { CONSUMER_CONCURRENCY: '32' } });
    started.open();
    await eventually(async () => expect(await world.count('inbox')).toBe(EVENTS));
    expect(await world.database.query('SELECT n FROM counter')).toEqual([{ n: EVENTS }]);
  }

  it('share messages where each asks one statement, and their events keep the order of their work', async () => {
    const counterId = randomUUID();
    let underWay = 0;
    let most = 0;
    await handleAll(async (tx, { outbox }) => {
      most = Math.max(most, ++underWay);
      const [found] = await tx.$queryRaw<{ n: number }[]>`UPDATE counter SET n = n + 1 RETURNING n`.finally(() => underWay--);
      const n = found?.n as number;
      for (let turn = 0; turn < (n * 7) % 40; turn++) await Promise.resolve();
      outbox.emit(tx, Object.assign(new CountReached(), { counterId, n }));
    });
    expect(most).toBeGreaterThan(4); // as many groups as there are at once have one under way each where they take turns
    const rows = await world.database.query<{ payload: string }>('SELECT payload FROM outbox ORDER BY lane, id');
    expect(rows.map(({ payload }) => (JSON.parse(payload) as CountReached).n)).toEqual(range(EVENTS).map((index) => index + 1));
  });

  it('lose no event that a hook emits before the commit, and take none after it', async () => {
    const instance = await world.start([{ group: 'one', handle: () => Promise.resolve() }], { roles: ['http'] });
    const { database, outbox } = instance;
    const event = (n: number): CountReached => Object.assign(new CountReached(), { counterId: randomUUID(), n });
    const kept: Transaction[] = [];
    await database.transaction(async (tx) => {
      outbox.emit(tx, event(1));
      database.beforeCommit(tx, () => Promise.resolve(outbox.emit(tx, event(3))));
      await database.sideBySide(tx, [
        (part) => Promise.resolve(void kept.push(part)),
        (part) => Promise.resolve(outbox.emit(part, event(2))),
      ]);
      kept.push(tx);
    });
    for (const tx of kept) expect(() => outbox.emit(tx, event(4))).toThrow('has ended already');
    const rows = await world.database.query<{ payload: string }>('SELECT payload FROM outbox ORDER BY id');
    expect(rows.map(({ payload }) => (JSON.parse(payload) as CountReached).n)).toEqual([1, 2, 3]);
  });

  it('take turns where one asks again, so that no change is lost', async () => {
    let begun = 0;
    await handleAll(async (tx) => {
      begun++;
      const [found] = await tx.$queryRaw<{ n: number }[]>`SELECT n FROM counter FOR UPDATE`;
      await tx.$executeRaw`UPDATE counter SET n = ${(found?.n as number) + 1}`;
    });
    // Only those that were under way when it was found out begin anew.
    expect(begun).toBeGreaterThan(EVENTS);
    expect(begun).toBeLessThanOrEqual(EVENTS + 32);
  });
});
