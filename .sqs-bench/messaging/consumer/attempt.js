import { failpoint } from '../../config/failpoint.js';
import { withCausation } from '../event/causation.js';
/** Another instance, or an earlier attempt, has handled the event: there is nothing left to do. */ export class AlreadyHandledError extends Error {
  code = 'CONSUMER.ALREADY_HANDLED';
  name = 'AlreadyHandledError';
}
/** The handler ran past its time, or was told to stop: what it does now is not committed. */ export class HandlerAbortedError extends Error {
  code = 'CONSUMER.ABORTED';
  name = 'HandlerAbortedError';
}
/** The handler did not settle in time. */ export class HandlerTimeoutError extends Error {
  code = 'CONSUMER.TIMEOUT';
  name = 'HandlerTimeoutError';
}
/**
 * One attempt at one event. The attempt is in one of three states: `open`, `committing` (its transaction is about
 * to commit or has), `over` (timed out or interrupted). Both changes out of `open` are made without an await in
 * between, so exactly one of "commit" and "give up" happens: a handler that comes back after its time finds
 * `over` and its transaction rolls back; a time-out that strikes while the commit is under way waits for it.
 */ export async function attemptEvent(request, database, inbox) {
  const { group, handler, event, attempt, timeoutMs, signal } = request;
  let state = 'open';
  let used = false;
  let duplicate = false;
  let committed = false;
  const abort = new AbortController();
  const once = async (work) => {
    if (used) throw new Error(`${handler.name} called context.once twice for event ${event.id}; put all its writes into one call`);
    used = true;
    try {
      const result = await database.transaction(async (tx) => {
        assertOpen();
        if (!(await inbox.mark(tx, group, event.id))) {
          duplicate = true;
          throw new AlreadyHandledError(`event ${event.id} was handled by group ${group} before`);
        }
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
  const assertOpen = () => {
    if (state === 'over')
      throw new HandlerAbortedError(`the attempt at event ${event.id} is over; its writes were rolled back`, {
        cause: abort.signal.reason,
      });
    if (state === 'committing') state = 'open'; // the transaction is being run anew after a conflict
  };
  const context = {
    group,
    attempt,
    signal: abort.signal,
    idempotencyKey: `${group}:${event.id}`,
    once,
  };
  const causation = {
    correlationid: event.correlationid,
    causationid: event.id,
    ...(event.traceparent !== undefined && {
      traceparent: event.traceparent,
    }),
  };
  const handling = withCausation(causation, async () => handler.handle(event, context)).then(
    () =>
      duplicate
        ? {
            kind: 'duplicate',
          }
        : {
            kind: 'handled',
          },
    (error) =>
      duplicate
        ? {
            kind: 'duplicate',
          }
        : committed
          ? {
              kind: 'handled',
            }
          : {
              kind: 'failed',
              error,
            },
  );
  const ended = new Promise((resolve) => {
    const giveUp = (outcome, reason) => {
      if (state === 'committing') return void handling.then(resolve);
      state = 'over';
      resolve(outcome);
      abort.abort(reason);
    };
    const onAbort = () =>
      giveUp(
        {
          kind: 'interrupted',
        },
        signal.reason,
      );
    const timer = setTimeout(() => {
      const error = new HandlerTimeoutError(`${handler.name} did not end within ${timeoutMs} ms`);
      giveUp(
        {
          kind: 'failed',
          error,
        },
        error,
      );
    }, timeoutMs);
    if (signal.aborted) onAbort();
    else
      signal.addEventListener('abort', onAbort, {
        once: true,
      });
    void handling.then((outcome) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      resolve(outcome);
    });
  });
  const outcome = await ended;
  if (outcome.kind === 'failed' && signal.aborted)
    return {
      kind: 'interrupted',
    };
  if (outcome.kind === 'handled' && !used) await inbox.markNow(group, event.id);
  return outcome;
}

//# sourceMappingURL=attempt.js.map
