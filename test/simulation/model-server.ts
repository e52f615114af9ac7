import type { SqlQuery, Transaction as AdapterTransaction } from '@prisma/driver-adapter-utils';
import type { QueryResult } from 'pg';
import { Prisma } from '../../src/database/generated/client.js';
import { Database } from '../../src/database/database.js';
import { DatabasePool } from '../../src/database/database-pool.js';
import { lineOfNow } from '../../src/database/line-up.js';
import type { Statement } from '../../src/database/pipeline.js';
import type { Claimant } from '../../src/database/fair-share.js';
import type { Opening, TransactionConnection } from '../../src/database/transaction-pool.js';
import { AsyncLocalStorage } from 'node:async_hooks';
import { compile, type Answer, type Compiled } from './postgres-model/compile.js';
import { ISSUED, WRITING } from '../../src/messaging/lane/low-water.js';
import { UnknownSqlError } from './postgres-model/parse.js';
import { Blocked, migratedTables, ModelDatabaseError, Storage, Table, type Transaction, type Values } from './postgres-model/tables.js';
import type { SimulatedProcess, VirtualTime } from './virtual-time.js';

const compiled = new Map<string, Compiled>();

interface Session {
  readonly process: SimulatedProcess | undefined;
  tx: Transaction | undefined;
  broken: boolean;
  busy: boolean;
}

interface Waiting {
  readonly holder: Transaction;
  readonly again: () => void;
}

/** The effects of the simulation's handlers. No index: a second effect is to be seen. */
export const EFFECTS = 'effect';

/** PostgreSQL as the simulated processes reach it: each statement travels there, may wait there, and its answer travels back. */
export class ModelServer {
  readonly storage: Storage;
  private waiting: Waiting[] = [];
  private readonly sessions = new Set<Session>();
  /** Nobody gets through before this moment. */
  awayUntil = 0;
  /** Answers of COMMIT that are lost on the way, although the commit took place. */
  loseCommits = 0;
  latencyMs = 1;
  /** How often a statement had to wait for another transaction. */
  waits = 0;
  /** How often statements of several handlers came in one message. */
  messagesOfSeveral = 0;
  /** A statement came that the model does not understand. */
  onUnknown: (error: UnknownSqlError) => void = () => undefined;

  constructor(
    private readonly time: VirtualTime,
    private readonly random: () => number,
    /** Of a statement; a session may be silent inside a transaction twice as long. */
    private readonly timeoutMs: number,
  ) {
    this.storage = new Storage(() => time.now);
    for (const [name, table] of migratedTables()) this.storage.tables.set(name, table);
    const text = { type: 'text', required: true, filledBy: 'constant', constant: null } as const;
    this.storage.tables.set(EFFECTS, new Table(EFFECTS, new Map(['group_name', 'event_id', 'key'].map((name) => [name, text]))));
    this.storage.onEnd = () => this.wake();
  }

  /** Ends every connection, as a restart does. */
  disconnectAll(): void {
    for (const session of this.sessions) this.break(session);
  }

  /** What a server does for a process that has died, or that has been silent inside a transaction for too long. */
  abandon(process: SimulatedProcess): void {
    for (const session of this.sessions) if (session.process === process && (process.dead || !session.busy)) this.break(session);
  }

  frozen(process: SimulatedProcess): void {
    this.time.schedule(
      this.timeoutMs * 2,
      () => {
        if (process.frozenUntil > this.time.now) this.abandon(process);
      },
      undefined,
    );
  }

  /** @param lasting false: for one statement */
  open(lasting = true): Session {
    const session: Session = { process: this.time.process(), tx: undefined, broken: false, busy: false };
    if (lasting) this.sessions.add(session);
    return session;
  }

  close(session: Session): void {
    if (session.tx) this.storage.rollback(session.tx);
    this.sessions.delete(session);
  }

  /** One statement of a session; without BEGIN it is a transaction of its own. */
  request(session: Session, sql: string, parameters: readonly unknown[]): Promise<Answer> {
    const { process } = session;
    return new Promise((resolve, reject) => {
      // Half of the answers are there at once, where the process can take them.
      const answer = (settle: () => void): void => {
        if (this.random() < 0.5 && this.time.claim(process)) settle();
        else this.time.schedule(this.delay(), settle, process);
      };
      this.time.schedule(
        this.delay(),
        () => {
          session.busy = true;
          this.arrive(
            session,
            sql,
            parameters,
            (result) => {
              session.busy = false;
              answer(() => resolve(result));
            },
            (error) => {
              session.busy = false;
              answer(() => reject(error));
            },
          );
        },
        undefined,
      );
    });
  }

  private arrive(
    session: Session,
    sql: string,
    parameters: readonly unknown[],
    resolve: (answer: Answer) => void,
    reject: (error: Error) => void,
  ): void {
    if (this.awayUntil > this.time.now) this.break(session);
    if (session.broken) return reject(terminated());
    const done = { columns: [], rows: [], count: 0 };
    if (sql === 'BEGIN') {
      session.tx = this.storage.begin();
      return resolve(done);
    }
    if (sql === 'COMMIT' || sql === 'ROLLBACK') {
      const { tx } = session;
      session.tx = undefined;
      if (tx && sql === 'COMMIT') this.storage.commit(tx);
      else if (tx) this.storage.rollback(tx);
      if (sql === 'COMMIT' && this.loseCommits > 0) {
        this.loseCommits--;
        this.break(session);
        return reject(terminated());
      }
      return resolve(done);
    }
    const own = session.tx === undefined;
    const tx = session.tx ?? this.storage.begin();
    if (tx.failed) return reject(new ModelDatabaseError('25P02', 'current transaction is aborted'));
    const { snapshot } = this.storage;
    let deadline: { cancelled: boolean } | undefined;
    let over = false;
    const end = (error?: Error): void => {
      over = true;
      if (deadline) {
        deadline.cancelled = true;
        this.storage.holdSnapshot(-1);
      }
      tx.waitsFor = undefined;
      if (error) {
        tx.failed = true;
        if (own) this.storage.rollback(tx);
        reject(error);
      } else if (own) this.storage.commit(tx);
    };
    const attempt = (): void => {
      if (over) return;
      if (session.broken || (tx.ended && !own)) return end(terminated());
      try {
        const result = this.asked(sql, parameters) ?? statement(sql).execute(this.storage, tx, snapshot, parameters);
        tx.undo = [];
        end();
        resolve(result);
      } catch (error) {
        this.storage.takeBack(tx);
        if (error instanceof UnknownSqlError) this.onUnknown(error);
        if (!(error instanceof Blocked)) return end(error as Error);
        for (let link: Transaction | undefined = error.holder; link; link = link.waitsFor)
          if (link === tx) return end(new ModelDatabaseError('40P01', 'deadlock detected'));
        this.waits++;
        tx.waitsFor = error.holder;
        this.waiting.push({ holder: error.holder, again: attempt });
        if (!deadline) {
          this.storage.holdSnapshot(1);
          deadline = this.time.schedule(
            this.timeoutMs,
            () => {
              if (!over) end(new ModelDatabaseError('57014', 'canceling statement due to statement timeout'));
            },
            undefined,
          );
        }
      }
    };
    attempt();
  }

  /** What PostgreSQL tells of itself. */
  private asked(sql: string, parameters: readonly unknown[]): Answer | undefined {
    const answer = (name: string, values: readonly string[]): Answer => ({
      columns: [{ name, type: 'text' }],
      rows: values.map((value) => ({ [name]: value })),
      count: values.length,
    });
    if (sql === ISSUED) return answer('last', [String(this.storage.tables.get('outbox')?.sequence ?? 0)]);
    if (sql !== WRITING) return undefined;
    const [tables] = parameters as [readonly string[]];
    const open = [...this.sessions].flatMap(({ tx }) => (tx && !tx.ended ? [tx] : []));
    const writing = open.filter(({ changed }) => [...changed].some(({ table }) => tables.includes(table.name)));
    return answer(
      'transaction',
      writing.map(({ id }) => String(id)),
    );
  }

  private break(session: Session): void {
    session.broken = true;
    this.sessions.delete(session);
    const { tx } = session;
    session.tx = undefined;
    if (tx) this.storage.rollback(tx);
  }

  private wake(): void {
    if (this.waiting.length === 0) return;
    const ready = this.waiting.filter(({ holder }) => holder.ended);
    this.waiting = this.waiting.filter(({ holder }) => !holder.ended);
    for (const { again } of ready) again();
  }

  private delay(): number {
    return this.latencyMs * (0.2 + this.random());
  }

  /** The real DatabasePool over this server. */
  pool(): DatabasePool {
    const idle: Session[] = [];
    const take = (): Session => {
      for (let session = idle.pop(); session; session = idle.pop()) if (!session.broken) return session;
      return this.open();
    };
    const query = async (session: Session, text: string, values: unknown[] = []): Promise<{ rows: Values[]; rowCount: number }> => {
      const answer = await this.request(session, text, values);
      return { rows: fromDriver(answer), rowCount: answer.count };
    };
    const pool = {
      query: async (text: string, values: unknown[] = []) => {
        const session = take();
        const result = await query(session, text, values);
        idle.push(session);
        return result;
      },
      connect: async () => {
        const session = take();
        if (this.awayUntil > this.time.now) await this.request(session, 'SELECT 1', []);
        return {
          query: (text: string, values?: unknown[]) => query(session, text, values),
          release: (broken?: boolean) => {
            if (broken) this.close(session);
            else idle.push(session);
          },
        };
      },
    };
    return Object.assign(Object.create(DatabasePool.prototype), { pool }) as DatabasePool;
  }

  /** The real Database over this server, with a client that stands in for Prisma's. */
  database(transactionTimeoutMs: number): Database {
    type Request = (text: string, values: readonly unknown[]) => Promise<Answer>;
    const client = (request: Request) => {
      const raw = (strings: TemplateStringsArray | Prisma.Sql, values: unknown[]): Promise<Answer> => {
        const sql = strings instanceof Prisma.Sql ? strings : Prisma.sql(strings as TemplateStringsArray, ...values);
        return request(sql.text, sql.values);
      };
      return {
        $queryRaw: async (strings: TemplateStringsArray | Prisma.Sql, ...values: unknown[]) => fromPrisma(await raw(strings, values)),
        $executeRaw: async (strings: TemplateStringsArray | Prisma.Sql, ...values: unknown[]) => (await raw(strings, values)).count,
      };
    };
    let opening: Opening = {};
    const prisma = {
      ...client((text, values) => this.request(this.open(false), text, values)),
      $transaction: async (work: (tx: unknown) => Promise<unknown>, { timeout }: { timeout: number }) => {
        const session = this.open();
        let expired = false;
        const timer = setTimeout(() => {
          expired = true;
          this.close(session);
          session.broken = true;
        }, timeout);
        const assertOpen = (): void => {
          if (expired)
            throw Object.assign(new Error('Transaction already closed'), { code: 'P2028', name: 'PrismaClientKnownRequestError' });
        };
        const atCommit: Statement[] = [];
        const ahead: Statement[] = [];
        let refusal: Error | undefined;
        const sendAhead = async (): Promise<void> => {
          for (const { text, values = [], check } of ahead.splice(0)) {
            const { count } = await this.request(session, text, values);
            try {
              check?.({ rowCount: count } as QueryResult);
            } catch (error) {
              refusal = error as Error;
            }
          }
        };
        // As on the wire: a statement runs although what went ahead of it is refused, and fails with that.
        const request: Request = async (text, values) => {
          if (refusal) throw refusal;
          await sendAhead();
          const answer = await this.request(session, text, values).catch((error: unknown) => {
            throw refusal ?? error;
          });
          if (refusal) throw refusal;
          return answer;
        };
        const tx = client((text, values) => {
          assertOpen();
          return request(text, values);
        });
        const runAll = async (statements: readonly Statement[]): Promise<QueryResult[]> => {
          assertOpen();
          if (statements.length > 1) this.messagesOfSeveral++;
          const results: QueryResult[] = [];
          for (const { text, values = [], check } of statements) {
            const answer = await request(text, values);
            const result = { rows: fromDriver(answer), rowCount: answer.count } as QueryResult;
            check?.(result);
            results.push(result);
          }
          return results;
        };
        const begun = opening;
        begun.connection = {
          runAll,
          query: async ({ text, values = [] }: Statement) => {
            const answer = await request(text, values);
            return { rows: fromDriver(answer), rowCount: answer.count };
          },
          addAhead: (statement: Statement, check: NonNullable<Statement['check']>) => void ahead.push({ ...statement, check }),
          addAtCommit: (last: Statement) => void atCommit.push(last),
        } as unknown as TransactionConnection;
        try {
          await this.request(session, 'BEGIN', []);
          const working = work(tx);
          // From here on, so that only the parts of this transaction go past its client: these may be asked for nothing else.
          begun.transaction = {
            executeRaw: async ({ sql, args }: SqlQuery) => {
              const statement = { text: sql, values: args };
              const [result] = await (lineOfNow()?.(statement).then((answer) => [answer]) ?? runAll([statement]));
              return result?.rowCount;
            },
          } as unknown as AdapterTransaction;
          const result = await working;
          assertOpen();
          await sendAhead();
          if (refusal) throw refusal;
          for (const { text, values = [] } of atCommit) await this.request(session, text, values);
          await this.request(session, 'COMMIT', []);
          return result;
        } catch (error) {
          await this.request(session, 'ROLLBACK', []).catch(() => undefined); // the first error is the one that tells
          throw error;
        } finally {
          clearTimeout(timer);
          this.close(session);
        }
      },
    };
    return Object.assign(Object.create(Database.prototype), {
      prisma,
      pool: {
        query: (text: string) => this.request(this.open(false), text, []),
        as: (_claimant: Claimant, work: () => unknown) => work(), // it has connections for everybody
        openIn: (here: Opening, begin: () => unknown) => {
          opening = here;
          return begin();
        },
      },
      names: { failedBy: () => false },
      begun: new WeakMap(),
      parts: new WeakMap(),
      current: new AsyncLocalStorage(),
      timeoutMs: transactionTimeoutMs,
    }) as Database;
  }
}

function statement(sql: string): Compiled {
  let known = compiled.get(sql);
  if (!known) compiled.set(sql, (known = compile(sql, schema())));
  return known;
}

let tables: Map<string, Table> | undefined;
function schema(): Map<string, Table> {
  if (!tables) {
    tables = migratedTables();
    const text = { type: 'text', required: true, filledBy: 'constant', constant: null } as const;
    tables.set(EFFECTS, new Table(EFFECTS, new Map(['group_name', 'event_id', 'key'].map((name) => [name, text]))));
  }
  return tables;
}

function terminated(): Error {
  return new Error('Connection terminated unexpectedly');
}

/** As pg gives values: bigint as text. */
export function fromDriver({ columns, rows }: Answer): Values[] {
  return rows.map((row) => converted(row, columns, (value) => String(value)));
}

/** As Prisma gives the values of raw queries: bigint as BigInt. */
export function fromPrisma({ columns, rows }: Answer): Values[] {
  return rows.map((row) => converted(row, columns, (value) => BigInt(value as number)));
}

function converted(row: Values, columns: Answer['columns'], bigint: (value: unknown) => unknown): Values {
  const values: Values = {};
  for (const { name, type } of columns) {
    const value = row[name];
    if (value === null || value === undefined) values[name] = null;
    else if (type === 'int8') values[name] = bigint(value);
    else if (type === 'timestamptz') values[name] = new Date(value as number);
    else if (type === 'numeric') values[name] = String(value);
    else values[name] = value;
  }
  return values;
}
