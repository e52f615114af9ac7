import { failpoint } from '../../config/failpoint.js';
import type { Database, Transaction } from '../../database/database.js';
import { withCausation, type Causation } from '../event/causation.js';
import type { EventEnvelope } from '../event/event-envelope.js';
import type { BatchContext, ConsumeContext } from './event-consumer.js';
import type { Handler } from './consumer-registry.js';
import type { Inbox } from './inbox.js';
import type { Once } from './once.js';

export type AttemptOutcome =
  | { readonly kind: 'handled' }
  | { readonly kind: 'duplicate' }
  /** Shutdown or a lost delivery cut it short; it does not count. */
  | { readonly kind: 'interrupted' }
  | { readonly kind: 'failed'; readonly error: unknown };

/** Another instance, or an earlier attempt, has handled the event: there is nothing left to do. */
export class AlreadyHandledError extends Error {
  readonly code = 'CONSUMER.ALREADY_HANDLED';
  override readonly name = 'AlreadyHandledError';
}

/** The handler ran past its time, or was told to stop: what it does now is not committed. */
export class HandlerAbortedError extends Error {
  readonly code = 'CONSUMER.ABORTED';
  override readonly name = 'HandlerAbortedError';
}

/** The handler did not settle in time. */
export class HandlerTimeoutError extends Error {
  readonly code = 'CONSUMER.TIMEOUT';
  override readonly name = 'HandlerTimeoutError';
}

export interface AttemptRequest {
  readonly group: string;
  readonly handler: Handler;
  /** One, or several for a handler that takes many at once. */
  readonly events: readonly [EventEnvelope, ...EventEnvelope[]];
  readonly attempt: number;
  readonly timeoutMs: number;
  /** Aborted when the delivery is lost or the process stops. */
  readonly signal: AbortSignal;
}

/** How the events are marked: by `onceIn` where the handler uses a transaction, else afterwards. */
export interface AttemptMeans {
  readonly database: Database;
  readonly inbox: Inbox;
  readonly onceIn: Once;
}

/**
 * One attempt at one event, or at several together. The attempt is in one of three states: `open`, `committing` (its transaction is about
 * to commit or has), `over` (timed out or interrupted). Both changes out of `open` are made without an await in
 * between, so exactly one of "commit" and "give up" happens: a handler that comes back after its time finds
 * `over` and its transaction rolls back; a time-out that strikes while the commit is under way waits for it.
 */
export async function attemptEvents(request: AttemptRequest, { database, inbox, onceIn }: AttemptMeans): Promise<AttemptOutcome> {
  const { group, handler, events, attempt, timeoutMs, signal } = request;
  const [event] = events;
  const name = events.length === 1 ? `event ${event.id}` : `${events.length} events from ${event.id} on`;
  const eventIds = events.map(({ id }) => id);
  let state: 'open' | 'committing' | 'over' = 'open';
  let used = false;
  let duplicate = false;
  let committed = false;
  const abort = new AbortController();

  const once = async <T>(work: (tx: Transaction) => Promise<T>): Promise<T> => {
    if (used) throw new Error(`${handler.name} called context.once twice for ${name}; put all its writes into one call`);
    used = true;
    try {
      const result = await onceIn({ handler, eventIds }, async (tx, mark) => {
        assertOpen();
        duplicate = false;
        mark(() => {
          duplicate = true;
          throw new AlreadyHandledError(`${name}: handled by group ${group} before`);
        });
        const value = await work(tx);
        await failpoint('consumer.beforeCommit');
        database.beforeCommit(tx, () => {
          assertOpen();
          state = 'committing';
          return Promise.resolve();
        });
        return value;
      });
      committed = true;
      await failpoint('consumer.afterCommit');
      return result;
    } catch (error) {
      if (state === 'committing') state = 'open';
      throw error;
    }
  };
  const assertOpen = (): void => {
    if (state === 'over')
      throw new HandlerAbortedError(`the attempt at ${name} is over; its writes were rolled back`, {
        cause: abort.signal.reason,
      });
    if (state === 'committing') state = 'open'; // the transaction is being run anew after a conflict
  };

  const handle = async (): Promise<void> => {
    const shared = { group, attempt, signal: abort.signal, once };
    if (events.length === 1) {
      const context: ConsumeContext = { ...shared, idempotencyKey: idempotencyKey(group, event) };
      return withCausation(causationOf(event), async () => handler.handle(event, context));
    }
    const context: BatchContext = {
      ...shared,
      idempotencyKeyOf: (one) => idempotencyKey(group, one),
      causedBy: (one, work) => withCausation(causationOf(one), work),
    };
    return handler.handleBatch?.(events, context);
  };
  const handling = handle().then(
    (): AttemptOutcome => (duplicate ? { kind: 'duplicate' } : { kind: 'handled' }),
    (error: unknown): AttemptOutcome => (duplicate ? { kind: 'duplicate' } : committed ? { kind: 'handled' } : { kind: 'failed', error }),
  );

  const ended = new Promise<AttemptOutcome>((resolve) => {
    const giveUp = (outcome: AttemptOutcome, reason: Error): void => {
      if (state === 'committing') return void handling.then(resolve);
      state = 'over';
      resolve(outcome);
      abort.abort(reason);
    };
    const onAbort = (): void => giveUp({ kind: 'interrupted' }, signal.reason as Error);
    const timer = setTimeout(() => {
      const error = new HandlerTimeoutError(`${handler.name} did not end within ${timeoutMs} ms`);
      giveUp({ kind: 'failed', error }, error);
    }, timeoutMs);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    void handling.then((outcome) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      resolve(outcome);
    });
  });

  const outcome = await ended;
  if (outcome.kind === 'failed' && signal.aborted) return { kind: 'interrupted' };
  if (outcome.kind === 'handled' && !used) await inbox.markNow(group, eventIds);
  return outcome;
}

function idempotencyKey(group: string, { id }: EventEnvelope): string {
  return `${group}:${id}`;
}

function causationOf({ correlationid, id, traceparent }: EventEnvelope): Causation {
  return { correlationid, causationid: id, ...(traceparent !== undefined && { traceparent }) };
}
