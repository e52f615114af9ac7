import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import type { Transaction as AdapterTransaction } from '@prisma/driver-adapter-utils';
import { AsyncLocalStorage } from 'node:async_hooks';
import pg from 'pg';
import { CONFIG, type Config } from '../config/config.js';
import { LOGGER, type Logger } from '../observability/logger.js';
import { isRetryableConflict } from './database-errors.js';
import type { Claimant } from './fair-share.js';
import { PrismaClient, type Prisma } from './generated/client.js';
import { LineUp, type Turn } from './line-up.js';
import { makeTransactionClientsLate, partOf, WatchedPrismaPg, withDirectRawSql } from './raw-statements.js';
import { StatementNames } from './statement-names.js';
import { TransactionPool, type Opening, type TransactionConnection } from './transaction-pool.js';

/** Prisma, inside one database transaction. */
export type Transaction = Prisma.TransactionClient;

/** Injection token of the connection string in force: DATABASE_URL, or the embedded server's. */
export const DATABASE_URL = Symbol('DATABASE_URL');

/** What is known of a transaction. */
interface Begun {
  readonly opening: Opening;
  readonly beforeCommit: (() => Promise<void>)[];
  readonly afterCommit: (() => void)[];
  partsSoFar: number;
  /** Its work and its hooks are done: it is being committed, or has been. */
  done: boolean;
}

/** Where something stands that is done in a transaction: what is of a lower place has the effect of having been done before. */
export interface Place {
  /** The transaction, of which what was asked about may be a part. */
  readonly whole: Transaction;
  readonly place: number;
}

const CONFLICT_TRIES = 4;
const NOT_OURS = 'This transaction was not begun by Database.transaction, or has ended already';

/** The domain's way to PostgreSQL. The relay and the consumers' bookkeeping have connections of their own, see DatabasePool. */
@Injectable()
export class Database implements OnModuleDestroy {
  readonly prisma: PrismaClient;
  private readonly pool: TransactionPool;
  private readonly names: StatementNames;
  private readonly begun = new WeakMap<Transaction, Begun>();
  private readonly parts = new WeakMap<Transaction, Place & { readonly turn: Turn }>();
  private readonly current = new AsyncLocalStorage<Transaction>();
  private readonly timeoutMs: number;

  constructor(@Inject(CONFIG) config: Config, @Inject(DATABASE_URL) url: string, @Inject(LOGGER) logger: Logger) {
    this.timeoutMs = config.database.transactionTimeoutMs;
    this.names = new StatementNames(!config.database.preparedStatements, logger);
    const options = poolConfig(url, { max: config.database.poolSize, name: 'waybill', timeoutMs: this.timeoutMs });
    this.pool = new TransactionPool(options, this.names);
    reportLosses(this.pool, 'waybill', logger);
    const statementNameGenerator = ({ sql }: { sql: string }): string => this.names.nameOf(sql) as string;
    const watch = {
      onTransaction: (transaction: AdapterTransaction): void => this.pool.tell(transaction),
      onFailure: (error: unknown): boolean => this.names.failedBy(error),
    };
    this.prisma = new PrismaClient({ adapter: new WatchedPrismaPg(watch, this.pool, { statementNameGenerator }) });
    makeTransactionClientsLate(this.prisma);
  }

  /**
   * Runs the work in one transaction, READ COMMITTED, and commits when it resolves. The work is run anew (a
   * few times) when PostgreSQL ends it for a deadlock or serialization conflict: it must do nothing outside `tx`.
   * @throws whatever the work throws, after the rollback
   */
  async transaction<T>(work: (tx: Transaction) => Promise<T>, { tries: limit = CONFLICT_TRIES } = {}): Promise<T> {
    for (let tries = 1; ; tries++) {
      let afterCommit: (() => void)[] = [];
      const opening: Opening = {};
      try {
        const result = await this.begin(opening, async (prismas) => {
          const { transaction } = opening;
          const tx = transaction ? withDirectRawSql(prismas, transaction) : prismas;
          const begun: Begun = { opening, beforeCommit: [], afterCommit: [], partsSoFar: 0, done: false };
          this.begun.set(tx, begun);
          const value = await this.runIn(tx, work);
          for (const hook of begun.beforeCommit) await hook();
          begun.done = true;
          afterCommit = begun.afterCommit;
          return value;
        });
        for (const hook of afterCommit) hook();
        return result;
      } catch (error) {
        // Where a statement's name was the trouble, it has none any more.
        if (tries >= limit || !(isRetryableConflict(error) || this.names.failedBy(error))) throw error;
      }
    }
  }

  /**
   * Runs the handling of an event, with its parking and its retries: where there are too few connections, what it wants of the database leaves half of them
   * to requests, which somebody waits for (FairShare).
   */
  asEvent<T>(work: () => T): T {
    return this.pool.as('event', work);
  }

  /** How many of them wait for a connection now. */
  waitingOf(claimant: Claimant): number {
    return this.pool.waitingOf(claimant);
  }

  private begin<T>(opening: Opening, work: (tx: Transaction) => Promise<T>): Promise<T> {
    return this.pool.openIn(opening, () => this.prisma.$transaction(work, { maxWait: this.timeoutMs, timeout: this.timeoutMs }));
  }

  /**
   * A statement of the messaging machinery, which comes with every event and needs nothing of what Prisma does to it.
   * @returns its rows, as pg gives them
   */
  async query<R extends pg.QueryResultRow>(tx: Transaction, text: string, values: readonly unknown[]): Promise<pg.QueryResult<R>> {
    return this.connectionOf(tx).query({ text, values }) as Promise<pg.QueryResult<R>>;
  }

  /**
   * A statement that goes with the next one, ahead of it, in one message, and never with the COMMIT. Where `check` throws,
   * given its result, nothing is committed and what it went with fails with that error.
   */
  ahead(tx: Transaction, text: string, values: readonly unknown[], check: (result: pg.QueryResult) => void): void {
    this.connectionOf(tx).addAhead({ text, values }, check);
  }

  /** A statement that goes with the COMMIT, in one message; where it fails, nothing is committed. */
  atCommit(tx: Transaction, text: string, values: readonly unknown[]): void {
    this.connectionOf(tx).addAtCommit({ text, values });
  }

  private connectionOf(tx: Transaction): TransactionConnection {
    this.parts.get(tx)?.turn.refuse();
    const { connection } = this.begunIn(tx).opening;
    if (!connection) throw new Error(NOT_OURS);
    return connection;
  }

  /**
   * Runs works as parts of a transaction that is under way, with the effect of one after the other, and answers their
   * results. They begin side by side, and what they ask goes to PostgreSQL in one message, see LineUp. Each has its own
   * client, for `$queryRaw` and `$executeRaw` only.
   * @throws PartFailedError; OutOfTurnError for a part that asks for more than that, or again when a later one has
   * asked. After any error nothing more can be done in the transaction.
   */
  async sideBySide<T>(tx: Transaction, works: readonly ((part: Transaction) => Promise<T>)[]): Promise<T[]> {
    const connection = this.connectionOf(tx);
    const begun = this.underWayIn(tx);
    const { transaction } = begun.opening;
    if (!transaction) throw new Error(NOT_OURS);
    const line = new LineUp((statements) => connection.runAll(statements));
    const from = begun.partsSoFar;
    begun.partsSoFar += works.length;
    const outcomes = await Promise.allSettled(
      works.map(async (work, index) => {
        const turn = line.turnOf(index);
        const part = partOf(tx, transaction, turn);
        this.parts.set(part, { whole: tx, place: from + index, turn });
        return this.runIn(part, work);
      }),
    );
    await line.end(outcomes);
    return outcomes.map((outcome) => (outcome as PromiseFulfilledResult<T>).value);
  }

  /** Where stands what is done now in a transaction that is under way, or in a part of one. */
  placeOf(tx: Transaction): Place {
    const { partsSoFar } = this.underWayIn(tx);
    return this.parts.get(tx) ?? { whole: tx, place: partsSoFar };
  }

  /** Runs the work as a part of a transaction that is under way. */
  runIn<T>(tx: Transaction, work: (tx: Transaction) => Promise<T>): Promise<T> {
    return this.current.run(tx, () => work(tx));
  }

  /** The transaction this code runs in, for what is called through an interface that has no place for it. */
  currentTransaction(): Transaction | undefined {
    return this.current.getStore();
  }

  /** Whether PostgreSQL answers now; never rejects, and is over within the time. */
  async answers(withinMs: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), withinMs)));
    // Somebody waits for this, also where the handling of an event has asked.
    const answer = this.pool
      .as('request', () => this.pool.query('SELECT 1'))
      .then(
        () => true,
        () => false,
      );
    try {
      return await Promise.race([answer, tooLate]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Runs as the transaction's last statements; a rejection rolls it back. */
  beforeCommit(tx: Transaction, hook: () => Promise<void>): void {
    this.underWayIn(tx).beforeCommit.push(hook);
  }

  /** Runs once the transaction has committed; must not throw. */
  afterCommit(tx: Transaction, hook: () => void): void {
    this.underWayIn(tx).afterCommit.push(hook);
  }

  private underWayIn(tx: Transaction): Begun {
    const begun = this.begunIn(tx);
    if (begun.done) throw new Error(NOT_OURS);
    return begun;
  }

  private begunIn(tx: Transaction): Begun {
    const begun = this.begun.get(this.parts.get(tx)?.whole ?? tx);
    if (!begun) throw new Error(NOT_OURS);
    return begun;
  }

  async onModuleDestroy(): Promise<void> {
    await this.prisma.$disconnect();
    await this.pool.end();
  }
}

/** For a pool whose every wait is bounded, so that a database that has gone silent is an error and not a hang. */
export function poolConfig(
  url: string,
  options: { max: number; name: string; timeoutMs: number },
): pg.PoolConfig & { readonly max: number; readonly connectionTimeoutMillis: number } {
  return {
    connectionString: url,
    max: options.max,
    application_name: options.name,
    connectionTimeoutMillis: options.timeoutMs,
    statement_timeout: options.timeoutMs,
    query_timeout: options.timeoutMs + 1000,
    idle_in_transaction_session_timeout: options.timeoutMs * 2,
    keepAlive: true,
    keepAliveInitialDelayMillis: 5000,
  };
}

/** Tells of connections that are lost while nobody waits for an answer of theirs. */
export function reportLosses(pool: pg.Pool, name: string, logger: Logger): void {
  pool.on('error', (error) => logger.warn({ err: error, pool: name }, 'an idle database connection was lost'));
  // One that breaks while it is in use, but between two statements, tells nobody else: without a listener that ends the process.
  pool.on('connect', (client) => client.on('error', (error) => logger.debug({ err: error, pool: name }, 'a database connection was lost')));
}
