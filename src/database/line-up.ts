import { AsyncLocalStorage } from 'node:async_hooks';
import pg from 'pg';
import { afterThisTurn } from './after-this-turn.js';
import type { Statement } from './pipeline.js';

/** A part of a transaction asked for something that cannot be asked side by side with other parts. The transaction is to be rolled back. */
export class OutOfTurnError extends Error {
  readonly code = 'DATABASE.OUT_OF_TURN';
  override readonly name = 'OutOfTurnError';

  constructor(
    /** Which part, from 0. */
    readonly part: number,
    message = `part ${part} of the transaction must have its turn by itself`,
  ) {
    super(message);
  }
}

/** A part of a transaction failed; the cause is its error. The transaction is to be rolled back. */
export class PartFailedError extends Error {
  readonly code = 'DATABASE.PART_FAILED';
  override readonly name = 'PartFailedError';

  constructor(
    /** Which part, from 0. */
    readonly part: number,
    cause: unknown,
  ) {
    super(`part ${part} of the transaction failed`, { cause });
  }
}

/** What a part asks through. */
export interface Turn {
  /** Runs what sends one statement to the connection of the transaction. */
  ask<T>(run: () => Promise<T>): Promise<T>;
  /** Until the parts are done; a statement that fails before that fails the transaction, whoever waits for it. */
  readonly open: boolean;
  /** @throws OutOfTurnError */
  refuse(): never;
}

type Ask = (statement: Statement) => Promise<pg.QueryResult>;

/** Set while a part asks: its statement is to stand in line, instead of being sent. */
const asking = new AsyncLocalStorage<Ask>();

/** Where the statement that is being asked for stands in line; undefined where it is asked for by itself. */
export function lineOfNow(): Ask | undefined {
  return asking.getStore();
}

interface Asked {
  readonly part: number;
  readonly statement: Statement;
  readonly resolve: (result: pg.QueryResult) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Sends the statements of a transaction's parts together, in the order of the parts. Why that has the effect of one
 * part after the other: PostgreSQL runs them in that order, and all statements of a part are behind those of the parts
 * before it and ahead of those of the parts after it. A part that asks again when a later one's statement has been sent
 * already would break this; it is refused instead, and with it the whole transaction.
 */
export class LineUp {
  private waiting: Asked[] = [];
  private sending: Promise<void> = Promise.resolve();
  /** Parts that begin together have asked by then. */
  private readonly soon = afterThisTurn(() => this.sendNext());
  private lastSent = -1;
  private ended = false;
  /** Why nothing more can be asked. */
  private over: Error | undefined;
  /** What PostgreSQL refused, and whose statement it was; without a part where it was the connection that failed. */
  private failure: { readonly part: number | undefined; readonly error: unknown } | undefined;

  /** @param send sends statements in one message and answers their results, or throws the error of the first that failed */
  constructor(private readonly send: (statements: readonly Statement[]) => Promise<readonly pg.QueryResult[]>) {}

  turnOf(part: number): Turn {
    const ask: Ask = (statement) => this.ask(part, statement);
    const isOpen = (): boolean => !this.ended;
    return {
      ask: (run) => asking.run(ask, run),
      refuse: () => this.refuse(part),
      get open() {
        return isOpen();
      },
    };
  }

  /**
   * Ends the line, once all parts have settled and what they have asked without waiting for it is answered. Whoever asks
   * from then on is refused.
   * @throws OutOfTurnError, PartFailedError or what befell the connection
   */
  async end(outcomes: readonly PromiseSettledResult<unknown>[]): Promise<void> {
    do {
      this.sendNext();
      await this.sending;
    } while (this.waiting.length > 0);
    this.ended = true;
    const { over, failure } = this;
    if (over instanceof OutOfTurnError) throw over;
    if (failure) throw failure.part === undefined ? failure.error : new PartFailedError(failure.part, failure.error);
    outcomes.forEach((outcome, part) => {
      if (outcome.status === 'rejected') throw new PartFailedError(part, outcome.reason);
    });
  }

  private async ask(part: number, statement: Statement): Promise<pg.QueryResult> {
    if (this.over) throw this.over;
    if (this.ended || part < this.lastSent) this.refuse(part);
    return new Promise((resolve, reject) => {
      this.waiting.push({ part, statement, resolve, reject });
      this.soon();
    });
  }

  private refuse(part: number): never {
    this.over ??= new OutOfTurnError(part, this.ended ? 'the transaction of which this was a part has ended' : undefined);
    for (const { reject } of this.waiting.splice(0)) reject(this.over);
    throw this.over;
  }

  private sendNext(): void {
    this.sending = this.sending.then(() => this.sendWaiting());
  }

  /** Never rejects. */
  private async sendWaiting(): Promise<void> {
    const asked = this.waiting.splice(0).sort((one, other) => one.part - other.part);
    const last = asked.at(-1);
    if (!last) return;
    this.lastSent = last.part;
    let answered = 0;
    try {
      const results = await this.send(asked.map(({ statement }) => ({ ...statement, check: () => void answered++ })));
      asked.forEach(({ resolve }, index) => resolve(results[index] as pg.QueryResult));
    } catch (error) {
      const part = error instanceof pg.DatabaseError ? asked[answered]?.part : undefined;
      this.failure ??= { part, error };
      this.over ??= error as Error;
      for (const { reject } of asked) reject(error);
    }
  }
}
