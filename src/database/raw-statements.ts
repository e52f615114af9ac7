import { PrismaPg } from '@prisma/adapter-pg';
import { deserializeRawResult } from '@prisma/client/runtime/client';
import {
  ColumnTypeEnum,
  isDriverAdapterError,
  type ArgType,
  type ColumnType,
  type SqlQuery,
  type Transaction as AdapterTransaction,
} from '@prisma/driver-adapter-utils';
import { Prisma } from './generated/client.js';
import type { Turn } from './line-up.js';

type Adapter = Awaited<ReturnType<PrismaPg['connect']>>;

export interface AdapterWatch {
  /** Is told of every transaction that begins. */
  readonly onTransaction: (transaction: AdapterTransaction) => void;
  /** Whether a statement outside of a transaction failed before it was run, and is to be sent anew. */
  readonly onFailure: (error: unknown) => boolean;
}

/** Prisma's adapter, watched. */
export class WatchedPrismaPg extends PrismaPg {
  constructor(
    private readonly watch: AdapterWatch,
    ...options: ConstructorParameters<typeof PrismaPg>
  ) {
    super(...options);
  }

  override async connect(): Promise<Adapter> {
    const adapter = await super.connect();
    const start = adapter.startTransaction.bind(adapter);
    adapter.startTransaction = async (isolationLevel) => {
      const transaction = await start(isolationLevel);
      this.watch.onTransaction(transaction);
      return transaction;
    };
    adapter.queryRaw = this.again(adapter.queryRaw.bind(adapter));
    adapter.executeRaw = this.again(adapter.executeRaw.bind(adapter));
    return adapter;
  }

  private again<T>(run: (statement: SqlQuery) => Promise<T>): (statement: SqlQuery) => Promise<T> {
    return async (statement) => {
      try {
        return await run(statement);
      } catch (error) {
        if (!this.watch.onFailure(error)) throw error;
        return run(statement);
      }
    };
  }
}

/** What Prisma calls for the client of each transaction; internal, so the version is pinned and a test uses what it makes. */
const MAKE_CLIENT = '_createItxClient';

/**
 * Prisma makes a client with a delegate for every model for each transaction, which takes longer than a statement.
 * From here on it is made when something is asked of it, so a transaction of raw SQL alone goes without.
 */
export function makeTransactionClientsLate(prisma: object): void {
  const make = Reflect.get(prisma, MAKE_CLIENT) as unknown;
  if (typeof make !== 'function')
    throw new Error(`this version of Prisma has no ${MAKE_CLIENT}; it makes the clients of transactions in another way`);
  Reflect.set(prisma, MAKE_CLIENT, function (this: unknown, ...given: unknown[]): object {
    let made: object | undefined;
    const client = (): object => (made ??= make.apply(this, given) as object);
    return new Proxy(
      {},
      {
        get: (_, name) => Reflect.get(client(), name) as unknown,
        set: (_, name, value) => Reflect.set(client(), name, value),
        has: (_, name) => Reflect.has(client(), name),
      },
    );
  });
}

/**
 * A transaction of Prisma whose raw SQL goes to Prisma's adapter directly: a plan of one statement needs no compiling
 * and no interpreting, which is a third of what a statement costs the process. Prisma's own parts convert the values,
 * so that they are what Prisma makes of them; a statement with a value that is not plain takes Prisma's way.
 */
export function withDirectRawSql(tx: Prisma.TransactionClient, transaction: AdapterTransaction): Prisma.TransactionClient {
  return new Proxy(tx, new DirectRawSql(transaction));
}

/** A part of a transaction, which has its turn for raw SQL of plain values only; whatever else is asked of it is refused. */
export function partOf(tx: Prisma.TransactionClient, transaction: AdapterTransaction, turn: Turn): Prisma.TransactionClient {
  return new Proxy(tx, new DirectRawSql(transaction, turn));
}

type RawMethod = (...given: unknown[]) => unknown;

class DirectRawSql implements ProxyHandler<Prisma.TransactionClient> {
  constructor(
    private readonly transaction: AdapterTransaction,
    private readonly turn?: Turn,
  ) {}

  get(tx: Prisma.TransactionClient, name: string | symbol): unknown {
    switch (name) {
      case '$queryRaw':
        return this.direct(tx, name, async (statement) => rowsOf(await this.ask(() => this.transaction.queryRaw(statement))));
      case '$executeRaw':
        return this.direct(tx, name, (statement) => this.ask(() => this.transaction.executeRaw(statement)));
      default:
        // A promise that is resolved with the client looks for `then`, which asks for nothing.
        if (typeof name === 'string' && name !== 'then') this.turn?.refuse();
        return Reflect.get(tx, name) as unknown;
    }
  }

  private ask<T>(run: () => Promise<T>): Promise<T> {
    return asPrismaFails(this.turn ? this.turn.ask(run) : run());
  }

  private direct(
    tx: Prisma.TransactionClient,
    name: '$queryRaw' | '$executeRaw',
    run: (statement: SqlQuery) => Promise<unknown>,
  ): RawMethod {
    return (...given) => {
      const statement = statementOf(given);
      if (!statement) {
        this.turn?.refuse();
        return (tx[name] as RawMethod)(...given);
      }
      const running = run(statement);
      // It can fail for another part's fault, before this one waits for it. The line keeps the failure, and ends the transaction with it.
      if (this.turn?.open) running.catch(() => undefined);
      return running;
    };
  }
}

/** What a tagged template, or Prisma.sql, says; undefined where Prisma has to see to it. */
function statementOf([query, ...values]: readonly unknown[]): SqlQuery | undefined {
  const sql = isTemplate(query) ? Prisma.sql(query, ...values) : query;
  if (!(sql instanceof Prisma.Sql)) return undefined;
  const args = sql.values.map((value) => plain(value));
  if (args.includes(undefined)) return undefined;
  return { sql: sql.text, args, argTypes: args.map((arg) => (Array.isArray(arg) ? LIST : SCALAR)) };
}

function isTemplate(query: unknown): query is TemplateStringsArray {
  return Array.isArray(query) && 'raw' in query;
}

/** All that the adapter asks of a type is whether there are many; what a value is, PostgreSQL learns from the statement. */
const SCALAR: ArgType = { scalarType: 'unknown', arity: 'scalar' };
const LIST: ArgType = { scalarType: 'unknown', arity: 'list' };

/** The value as the adapter takes it; undefined where it is not plain. */
function plain(value: unknown): unknown {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      return Number.isFinite(value) ? value : undefined;
    case 'bigint':
      return String(value);
    default:
      break;
  }
  if (value === null) return null;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? undefined : value;
  if (!Array.isArray(value)) return undefined;
  const elements = value.map((element: unknown) => (Array.isArray(element) ? undefined : plain(element)));
  return elements.includes(undefined) ? undefined : elements;
}

/** The names that Prisma's runtime knows column types by; what is not listed is taken as the driver gives it. */
const TYPES = new Map<ColumnType, string>([
  [ColumnTypeEnum.Int64, 'bigint'],
  [ColumnTypeEnum.Bytes, 'bytes'],
  [ColumnTypeEnum.Numeric, 'decimal'],
  [ColumnTypeEnum.DateTime, 'datetime'],
  [ColumnTypeEnum.Date, 'date'],
  [ColumnTypeEnum.Time, 'time'],
  [ColumnTypeEnum.Int64Array, 'bigint-array'],
  [ColumnTypeEnum.BytesArray, 'bytes-array'],
  [ColumnTypeEnum.NumericArray, 'decimal-array'],
  [ColumnTypeEnum.DateTimeArray, 'datetime-array'],
  [ColumnTypeEnum.DateArray, 'date-array'],
  [ColumnTypeEnum.TimeArray, 'time-array'],
]);

function rowsOf({ columnNames, columnTypes, rows }: Awaited<ReturnType<AdapterTransaction['queryRaw']>>): unknown[] {
  const types = columnTypes.map((type) => TYPES.get(type) ?? 'string') as Parameters<typeof deserializeRawResult>[0]['types'];
  const isJson = columnTypes.map((type) => type === ColumnTypeEnum.Json);
  const isJsonArray = columnTypes.map((type) => type === ColumnTypeEnum.JsonArray);
  for (const row of rows)
    for (let column = 0; column < row.length; column++) {
      const value = row[column];
      if (isJson[column] && value !== null) row[column] = JSON.parse(value as string);
      if (isJsonArray[column] && value !== null)
        row[column] = (value as (string | null)[]).map((element) => (element === null ? null : (JSON.parse(element) as unknown)));
    }
  return deserializeRawResult({ columns: columnNames, types, rows }) as unknown[];
}

/** With the error that Prisma's own raw queries fail with. */
async function asPrismaFails<T>(running: Promise<T>): Promise<T> {
  try {
    return await running;
  } catch (error) {
    if (!isDriverAdapterError(error)) throw error;
    const { cause, message } = error;
    throw new Prisma.PrismaClientKnownRequestError(
      cause.kind === 'UnsupportedNativeDataType'
        ? `Raw query failed: a column is of the type ${cause.type}, which Prisma does not read. Cast it, to text for instance.`
        : `Raw query failed. Code: \`${cause.originalCode ?? 'N/A'}\`. Message: \`${cause.originalMessage ?? message}\``,
      { code: 'P2010', clientVersion: Prisma.prismaVersion.client, meta: { driverAdapterError: error } },
    );
  }
}
