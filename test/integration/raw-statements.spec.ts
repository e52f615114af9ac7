import { afterAll, afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { readConfig } from '../../src/config/read-config.js';
import { Database, type Transaction } from '../../src/database/database.js';
import { Prisma } from '../../src/database/generated/client.js';
import { makeTransactionClientsLate, withDirectRawSql } from '../../src/database/raw-statements.js';
import { createLogger } from '../../src/observability/create-logger.js';
import { stopServers } from '../support/brokers-under-test.js';
import { freshDatabase, type FreshDatabase } from '../support/fresh-database.js';

/** What both Prisma's client and a transaction can be asked. */
type Asked = Pick<Prisma.TransactionClient, '$queryRaw' | '$executeRaw'>;
type Outcome = { readonly value: unknown } | { readonly error: unknown };

/** A value of each type that Prisma's adapter knows, and null where there is none. */
const VALUES = [
  "'text'::text",
  "'vc'::varchar(5)",
  "'bp'::char(4)",
  "'n'::name",
  "'7f3c2c1e-0d9f-4a50-9d0a-2f5d7b1c3e11'::uuid",
  'true::bool',
  '(-7)::int2',
  '2147483647::int4',
  '9007199254740993::int8',
  '4294967295::oid',
  '1.5::float4',
  "'NaN'::float8",
  "'-0.1'::float8",
  '12345678901234567890.123456789::numeric',
  "'$12.34'::money",
  "'2026-11-26'::date",
  "'23:59:59.123'::time",
  "'23:59:59.123+02'::timetz",
  "'2026-11-26 01:02:03.456789'::timestamp",
  "'2026-11-26 01:02:03.456789+05:30'::timestamptz",
  `'{"b":1,"a":[null,1e3,"x"]}'::json`,
  `'{"b":1.0,"a":null}'::jsonb`,
  "'null'::jsonb",
  "'\\xdeadbeef'::bytea",
  "'10.0.0.1'::inet",
  "B'101'::bit(3)",
  "'<a/>'::xml",
  "ARRAY['a',NULL,'b,\"c']::text[]",
  'ARRAY[1,NULL,-3]::int4[]',
  'ARRAY[9007199254740993,NULL]::int8[]',
  'ARRAY[1.25,NULL]::numeric[]',
  'ARRAY[1.5,NULL]::float8[]',
  'ARRAY[true,NULL]::bool[]',
  "ARRAY['2026-11-26 01:02:03+00'::timestamptz,NULL]",
  "ARRAY['2026-11-26'::date]",
  "ARRAY['01:02:03'::time]",
  `ARRAY['{"a":1}'::jsonb,NULL,'[]']`,
  "ARRAY['\\xdead'::bytea]",
  "ARRAY['7f3c2c1e-0d9f-4a50-9d0a-2f5d7b1c3e11'::uuid]",
  'ARRAY[]::int4[]',
  'NULL::int8',
  'NULL::jsonb',
  'NULL::timestamptz',
];

/** Each with the type that the statement gives it. */
const PARAMETERS: readonly (readonly [string, unknown, string])[] = [
  ['a text', 'x\\"\n,{}', 'text'],
  ['an empty text', '', 'text'],
  ['a number', 1.5, 'float8'],
  ['an integer', -3, 'int4'],
  ['a number that is none', Number.NaN, 'float8'],
  ['a bigint', 9007199254740993n, 'int8'],
  ['a boolean', false, 'bool'],
  ['null', null, 'text'],
  ['a date', new Date('2026-11-26T01:02:03.045Z'), 'timestamptz'],
  ['a date for a day', new Date('2026-11-26T01:02:03.045Z'), 'date'],
  ['a date that is none', new Date(Number.NaN), 'timestamptz'],
  ['a decimal', new Prisma.Decimal('12345678901234567890.5'), 'numeric'],
  ['bytes', new Uint8Array([1, 0, 255]), 'bytea'],
  ['a buffer', Buffer.from([1, 0, 255]), 'bytea'],
  ['an object', { b: 1, a: [null, 'x'] }, 'jsonb'],
  ['texts', ['a', null, 'b,"c', ''], 'text[]'],
  ['numbers', [1, 2.5], 'float8[]'],
  ['bigints', [9007199254740993n, null], 'int8[]'],
  ['booleans', [true, false], 'bool[]'],
  ['dates', [new Date('2026-11-26T01:02:03.045Z')], 'timestamptz[]'],
  ['decimals', [new Prisma.Decimal('1.25')], 'numeric[]'],
  ['nothing in a list', [], 'text[]'],
  ['lists in a list', [[1, 2]], 'int4[]'],
];

describe("raw SQL in a transaction is as Prisma's own", () => {
  let fresh: FreshDatabase;
  let database: Database;

  beforeEach(async () => {
    fresh = await freshDatabase();
    const config = readConfig({ DATABASE_POOL_SIZE: '2' });
    database = new Database(config, fresh.url, createLogger(config, { write: () => undefined }));
  });
  afterEach(async () => {
    await database.onModuleDestroy();
    await fresh.drop();
  });
  afterAll(() => stopServers());

  const outcomeOf = (asking: Promise<unknown>): Promise<Outcome> =>
    asking.then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );

  /** What comes of the same work outside of a transaction of ours, through Prisma, and in one. */
  async function both(work: (asked: Asked) => Promise<unknown>): Promise<readonly [Outcome, Outcome]> {
    const prismas = await outcomeOf(work(database.prisma));
    const ours = await outcomeOf(database.transaction((tx) => work(tx)));
    return [prismas, ours];
  }

  it.each(VALUES)('reads %s', async (expression) => {
    const [prismas, ours] = await both((asked) => asked.$queryRaw(Prisma.raw(`SELECT ${expression} AS found, 1 AS one`)));
    expect(ours).toStrictEqual(prismas);
    expect(ours).toHaveProperty('value.0.one', 1);
  });

  it.each(PARAMETERS)('sends %s', async (_name, value, type) => {
    const [prismas, ours] = await both(
      (asked) => asked.$queryRaw`SELECT ${value}::${Prisma.raw(type)} AS found, pg_typeof(${value}::${Prisma.raw(type)})::text AS type`,
    );
    if ('error' in prismas) expect((ours as { error: Error }).error).toMatchObject({ name: (prismas.error as Error).name });
    else expect(ours).toStrictEqual(prismas);
  });

  it('counts the rows that a statement has changed, whatever it is put together from', async () => {
    await fresh.query('CREATE TABLE thing (n int)');
    const [prismas, ours] = await both(async (asked) => [
      await asked.$executeRaw`INSERT INTO thing SELECT * FROM generate_series(1, ${3}::int)`,
      await asked.$executeRaw(Prisma.sql`UPDATE thing SET n = n ${Prisma.sql`+ ${1}::int`} WHERE n IN (${Prisma.join([1, 2])})`),
      await asked.$queryRaw(Prisma.sql`SELECT n FROM thing ORDER BY n LIMIT 1`),
      await asked.$executeRaw`DELETE FROM thing`,
    ]);
    expect(ours).toStrictEqual(prismas);
    expect(ours).toEqual({ value: [3, 2, [{ n: 2 }], 3] });
  });

  it.each([
    ['what PostgreSQL refuses', 'SELECT 1 / 0', '22012'],
    ['a table that is not there', 'SELECT * FROM nowhere', '42P01'],
    [
      'what breaks a rule',
      "INSERT INTO orders (id, customer_id, status, total, currency) VALUES (gen_random_uuid(), NULL, 'pending', 1, 'EUR')",
      '23502',
    ],
  ])("fails as Prisma's does at %s", async (_name, sql, state) => {
    const [prismas, ours] = await both((asked) => asked.$queryRaw(Prisma.raw(sql)));
    const [was, is] = [prismas, ours].map((outcome) => (outcome as { error: Prisma.PrismaClientKnownRequestError }).error);
    expect(is).toBeInstanceOf(Prisma.PrismaClientKnownRequestError);
    expect(is?.code).toBe(was?.code);
    expect(is?.clientVersion).toBe(was?.clientVersion);
    expect(JSON.stringify(is?.meta)).toBe(JSON.stringify(was?.meta));
    expect(was?.message).toContain(is?.message);
    expect(is?.message).toContain(state);
  });

  it('names the type that Prisma does not read', async () => {
    const [prismas, ours] = await both((asked) => asked.$queryRaw(Prisma.raw("SELECT '(1,2)'::point AS p")));
    for (const outcome of [prismas, ours])
      expect(outcome).toMatchObject({ error: { code: 'P2010', message: expect.stringContaining('point') } });
  });

  it('leaves models, and what is called otherwise, to Prisma, in the same transaction', async () => {
    const id = '7f3c2c1e-0d9f-4a50-9d0a-2f5d7b1c3e11';
    const work = database.transaction(async (tx) => {
      await tx.$executeRaw`INSERT INTO orders (id, customer_id, status, total, currency) VALUES (${id}::uuid, ${id}::uuid, 'pending', 1, 'EUR')`;
      expect(await tx.order.count()).toBe(1);
      expect(await database.prisma.order.count()).toBe(0);
      throw new Error('rolled back');
    });
    await expect(work).rejects.toThrow('rolled back');
    expect(await database.prisma.order.count()).toBe(0);
  });

  it('does not go through Prisma in between, which makes no client for it', async () => {
    const own = { order: 'of Prisma' };
    const make = jest.fn((..._given: unknown[]) => own);
    const prisma = { _createItxClient: make };
    makeTransactionClientsLate(prisma);
    const late = prisma._createItxClient('itx', 'scope') as unknown as Transaction;
    const asked: unknown[] = [];
    const executeRaw = (statement: unknown): Promise<number> => (asked.push(statement), Promise.resolve(3));
    const tx = withDirectRawSql(late, { executeRaw } as unknown as Parameters<typeof withDirectRawSql>[1]);
    expect(await tx.$executeRaw`UPDATE things SET n = ${1}`).toBe(3);
    expect(asked).toEqual([expect.objectContaining({ sql: 'UPDATE things SET n = $1', args: [1] })]);
    expect(make).not.toHaveBeenCalled();
    expect([tx.order, tx.order]).toEqual(['of Prisma', 'of Prisma']);
    expect(make.mock.calls).toEqual([['itx', 'scope']]);
    expect('order' in tx && !('orders' in tx)).toBe(true);
    Object.assign(tx, { note: 1 });
    expect(own).toEqual({ order: 'of Prisma', note: 1 });
  });

  it('tells when Prisma makes the clients of transactions in another way', () => {
    expect(() => makeTransactionClientsLate({})).toThrow(/_createItxClient/);
  });

  it('can be mixed with what Prisma builds itself, in one transaction', async () => {
    const late: Transaction[] = [];
    const found = await database.transaction(async (tx) => {
      late.push(tx);
      await tx.$executeRaw`INSERT INTO stock_item (sku, name, price, currency, on_hand) VALUES ('late', 'Late', 1, 'EUR', 5)`;
      await tx.stockItem.update({ where: { sku: 'late' }, data: { name: 'Later' } });
      const [raw, built] = [
        await tx.$queryRaw`SELECT name FROM stock_item WHERE sku = 'late'`,
        await tx.stockItem.findUnique({ where: { sku: 'late' } }),
      ];
      return [raw, built?.name];
    });
    expect(found).toEqual([[{ name: 'Later' }], 'Later']);
    const [ended] = late as [Transaction];
    await expect(ended.stockItem.findMany()).rejects.toMatchObject({ code: 'P2028' });
    await expect(ended.$queryRaw`SELECT 1`).rejects.toThrow(/ended/);
  });

  it("leaves Prisma's own client as it was", async () => {
    const before = database.prisma.$queryRaw;
    await database.transaction((tx) => tx.$queryRaw`SELECT 1`);
    expect(database.prisma.$queryRaw).toBe(before);
    expect(await database.prisma.$queryRaw`SELECT 1 AS one`).toEqual([{ one: 1 }]);
  });
});
