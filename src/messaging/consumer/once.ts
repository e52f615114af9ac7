import type { Database, Transaction } from '../../database/database.js';
import { GroupedTransactions } from '../../database/grouped-transactions.js';
import type { Handler } from './consumer-registry.js';
import type { Inbox } from './inbox.js';

/** Marks the events; where they are not all new it calls `refuse`, which throws, now or at the latest before the commit. */
type Mark = (refuse: () => never) => void;

/** What a handler wants done once for these events. */
interface Attempted {
  readonly handler: Handler;
  readonly eventIds: readonly string[];
}

/** Runs work in a transaction in which events of one group can be marked as handled. */
export type Once = <T>(attempted: Attempted, work: (tx: Transaction, mark: Mark) => Promise<T>) => Promise<T>;

/** A transaction for each attempt. */
export function singleOnce(database: Database, inbox: Inbox, group: string): Once {
  return ({ eventIds }, work) => database.transaction((tx) => work(tx, (refuse) => inbox.markAhead(tx, group, eventIds, refuse)));
}

/**
 * Attempts of a handler that come to their transaction at the same time share it; one statement marks the events of all.
 * `onTurns` is told of a handler that asks one statement after another.
 */
export function groupedOnce(database: Database, inbox: Inbox, group: string, onTurns: (handler: Handler) => void): Once {
  const grouped = new WeakMap<Handler, GroupedTransactions<readonly string[], ReadonlySet<string>>>();
  const transactionsOf = (handler: Handler): GroupedTransactions<readonly string[], ReadonlySet<string>> => {
    const found = grouped.get(handler);
    if (found) return found;
    const made = new GroupedTransactions<readonly string[], ReadonlySet<string>>(database, {
      first: (tx, eventIds) => inbox.markAll(tx, group, eventIds.flat()),
      onTurns: () => onTurns(handler),
    });
    grouped.set(handler, made);
    return made;
  };
  return ({ handler, eventIds }, work) =>
    transactionsOf(handler).run(
      (tx, marked) =>
        work(tx, (refuse) => {
          if (!eventIds.every((id) => marked.has(id))) refuse();
        }),
      eventIds,
    );
}
