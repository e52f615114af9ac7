import type { Transaction as AdapterTransaction } from '@prisma/driver-adapter-utils';
import { AsyncLocalStorage } from 'node:async_hooks';
import { callbackify } from 'node:util';
import pg from 'pg';
import { FairShare, type Claimant } from './fair-share.js';
import { lineOfNow } from './line-up.js';
import { sendTogether, type Statement } from './pipeline.js';
import type { StatementNames } from './statement-names.js';

/** The transaction's COMMIT was answered with a rollback. */
export class TransactionFailedError extends Error {
  readonly code = 'DATABASE.TRANSACTION_FAILED';
  override readonly name = 'TransactionFailedError';
}

/** The transaction's time was up, or it had been committed or rolled back, before the statement came. */
export class TransactionEndedError extends Error {
  readonly code = 'DATABASE.TRANSACTION_ENDED';
  override readonly name = 'TransactionEndedError';
}

/** Where a transaction that begins leaves what it goes through, for whoever began it. */
export interface Opening {
  connection?: TransactionConnection;
  /** As Prisma's adapter knows it. */
  transaction?: AdapterTransaction;
}

/** pg.Pool.query asks so; it releases by the client. */
type Connected = (error: Error | null, client: pg.PoolClient) => void;

/**
 * A pool whose connections send a BEGIN together with the statement after it, and what was left for the end together
 * with the COMMIT: a transaction of three statements takes three round trips instead of five. One that never asked
 * anything costs none. Where there are too few connections, requests and the handling of events share them (FairShare).
 */
export class TransactionPool extends pg.Pool {
  private readonly opening = new AsyncLocalStorage<Opening>();
  private readonly claimant = new AsyncLocalStorage<Claimant>();
  private readonly shares: FairShare;
  private readonly lentTo = new WeakMap<pg.PoolClient, Claimant>();

  constructor(
    config: pg.PoolConfig & { readonly max: number; readonly connectionTimeoutMillis: number },
    private readonly names: StatementNames,
  ) {
    super(config);
    this.shares = new FairShare(config.max, config.connectionTimeoutMillis);
    this.on('release', (_error, client) => {
      const claimant = this.lentTo.get(client);
      if (!claimant) return; // it was connected too late, and nobody has had it
      this.lentTo.delete(client);
      this.shares.leave(claimant);
    });
  }

  /** How many of them wait for a connection; pg's own count does not see them. */
  waitingOf(claimant: Claimant): number {
    return this.shares.waitingOf(claimant);
  }

  /** What `work` wants of the pool it wants as this claimant; by default everybody is a request. */
  as<T>(claimant: Claimant, work: () => T): T {
    return this.claimant.run(claimant, work);
  }

  /** Begins transactions inside `work` that can be reached through `opening`. */
  openIn<T>(opening: Opening, work: () => T): T {
    return this.opening.run(opening, work);
  }

  /** To be called, by the adapter, in the context that it was asked to begin a transaction in. */
  tell(transaction: AdapterTransaction): void {
    const opening = this.opening.getStore();
    if (opening) opening.transaction = transaction;
  }

  override connect(): Promise<pg.PoolClient>;
  override connect(callback: Connected): void;
  override connect(callback?: Connected): Promise<pg.PoolClient> | undefined {
    const lent = this.lend();
    if (callback) {
      callbackify(() => lent)(callback);
      return undefined;
    }
    const opening = this.opening.getStore();
    return lent.then((client) => {
      const connection = new TransactionConnection(client, this.names);
      if (opening) opening.connection = connection;
      // Prisma's adapter asks no more of a client than to query, to tell of errors and to be released.
      return connection as unknown as pg.PoolClient;
    });
  }

  private async lend(): Promise<pg.PoolClient> {
    const claimant = this.claimant.getStore() ?? 'request';
    await this.shares.enter(claimant);
    try {
      const client = await super.connect();
      this.lentTo.set(client, claimant);
      return client;
    } catch (error) {
      this.shares.leave(claimant);
      throw error;
    }
  }
}

/** A connection of the pool while it is lent to one transaction. */
export class TransactionConnection {
  private state: 'idle' | 'to begin' | 'begun' | 'ended' = 'idle';
  private readonly ahead: Statement[] = [];
  private readonly atCommit: Statement[] = [];
  private refusal: Error | undefined;
  private broken = false;

  constructor(
    private readonly client: pg.PoolClient,
    private readonly names: StatementNames,
  ) {}

  /** As pg's. BEGIN, COMMIT and ROLLBACK are told by their text: so Prisma sends them. */
  async query(statement: Statement): Promise<pg.QueryResult> {
    switch (statement.text) {
      case 'BEGIN':
        this.state = 'to begin';
        return answerTo('BEGIN');
      case 'COMMIT':
        return this.commit();
      case 'ROLLBACK':
        return this.rollback();
      default: {
        const ask = lineOfNow();
        return ask ? ask(statement) : this.run(statement);
      }
    }
  }

  /**
   * Runs with the next statement, ahead of it, or by itself before the COMMIT. Where `check` throws, the statement it
   * went with fails with that error, as every later one and the COMMIT do: never the COMMIT itself goes with it.
   */
  addAhead(statement: Statement, check: (result: pg.QueryResult) => void): void {
    const refusing = (result: pg.QueryResult): void => {
      try {
        check(result);
      } catch (error) {
        this.refusal = error as Error;
        throw error;
      }
    };
    this.ahead.push({ ...statement, check: refusing });
  }

  /** Runs with the COMMIT; where it fails, nothing is committed. */
  addAtCommit(statement: Statement): void {
    this.atCommit.push(statement);
  }

  on(event: 'error', listener: (error: Error) => void): this {
    this.client.on(event, listener);
    return this;
  }

  removeListener(event: 'error', listener: (error: Error) => void): this {
    this.client.removeListener(event, listener);
    return this;
  }

  /** A connection of which it is not known what it is doing is not lent again. */
  release(error?: Error | boolean): void {
    this.state = 'ended';
    this.client.release(error ?? this.broken);
  }

  /** Sends statements in one message; answers their results. Where one fails, those behind it have not been run. */
  async runAll(statements: readonly Statement[]): Promise<pg.QueryResult[]> {
    if (this.state === 'ended') throw new TransactionEndedError('the transaction has ended');
    const first = this.first();
    const results = await this.send([...first, ...statements]);
    return results.slice(first.length);
  }

  private async run(statement: Statement): Promise<pg.QueryResult> {
    const [result] = await this.runAll([statement]);
    return result as pg.QueryResult;
  }

  /** What is to go ahead of anything else now. */
  private first(): Statement[] {
    if (this.refusal) throw this.refusal;
    const begins = this.state === 'to begin';
    this.state = 'begun';
    return [...(begins ? [{ text: 'BEGIN' }] : []), ...this.ahead.splice(0)];
  }

  private async commit(): Promise<pg.QueryResult> {
    const last = this.atCommit.splice(0);
    if (this.state === 'to begin' && this.ahead.length === 0 && last.length === 0) {
      this.state = 'ended';
      return answerTo('COMMIT');
    }
    try {
      if (this.ahead.length > 0) await this.send(this.first());
      const result = (await this.send([...this.first(), ...last, { text: 'COMMIT' }])).at(-1) as pg.QueryResult;
      // PostgreSQL answers so, and with no error, when a statement had failed and the work went on regardless.
      if (result.command === 'ROLLBACK')
        throw new TransactionFailedError(
          'nothing was committed: a statement of the transaction had failed, and its error was not passed on',
        );
      return result;
    } catch (error) {
      // Prisma takes the transaction for ended, and releases.
      await this.rollback().catch(() => (this.broken = true)); // the first error is the one that tells
      throw error;
    } finally {
      this.state = 'ended';
    }
  }

  private async rollback(): Promise<pg.QueryResult> {
    const open = this.state === 'begun' && !this.broken; // the end of the connection is the end of the transaction
    this.state = 'ended';
    return open ? ((await this.send([{ text: 'ROLLBACK' }])).at(-1) as pg.QueryResult) : answerTo('ROLLBACK');
  }

  private async send(statements: readonly Statement[]): Promise<pg.QueryResult[]> {
    try {
      return await sendTogether(
        this.client,
        statements.map((statement) => ({ ...statement, name: statement.name ?? this.names.nameOf(statement.text) })),
      );
    } catch (error) {
      // What PostgreSQL itself or a check refuses leaves the connection in order; anything else does not.
      if (!(error instanceof pg.DatabaseError || error === this.refusal)) this.broken = true;
      throw error;
    }
  }
}

function answerTo(command: string): pg.QueryResult {
  return { command, rowCount: 0, oid: 0, fields: [], rows: [] };
}
