import type { Database, Transaction } from '../../database/database.js';
import { GroupCommit } from '../../database/group-commit.js';
import type { Inbox } from './inbox.js';

/** Marks the events; where they are not all new it calls `refuse`, which throws, now or at the latest before the commit. */
type Mark = (refuse: () => never) => void;
type Work = (tx: Transaction, mark: Mark) => Promise<unknown>;

/** Runs work in a transaction in which events of one group can be marked as handled. */
export type Once = <T>(eventIds: readonly string[], work: (tx: Transaction, mark: Mark) => Promise<T>) => Promise<T>;

const MOST_IN_A_GROUP = 64;
const GROUPS_AT_ONCE = 4;

/** A transaction for each attempt. */
export function singleOnce(database: Database, inbox: Inbox, group: string): Once {
  return (eventIds, work) => database.transaction((tx) => work(tx, (refuse) => inbox.markAhead(tx, group, eventIds, refuse)));
}

/**
 * Attempts that come to their transaction at the same time share it. Their work runs one after the other, so each
 * sees what it would see if the others had committed before it; one statement marks the events of all.
 */
export function groupedOnce(database: Database, inbox: Inbox, group: string): Once {
  const commits = new GroupCommit<{ eventIds: readonly string[]; work: Work }, unknown>(database, {
    most: MOST_IN_A_GROUP,
    atOnce: GROUPS_AT_ONCE,
    work: async (tx, members, begun) => {
      const ids = members.flatMap(({ input }) => input.eventIds);
      const marked = await inbox.markAll(tx, group, ids);
      const results: (() => unknown)[] = [];
      for (const member of members) {
        begun(member);
        const { eventIds, work } = member.input;
        const mark: Mark = (refuse) => {
          if (!eventIds.every((id) => marked.has(id))) refuse();
        };
        const value = await member.inContext(() => database.runIn(tx, () => work(tx, mark)));
        results.push(() => value);
      }
      return results;
    },
  });
  return (eventIds, work) => commits.run({ eventIds, work }) as ReturnType<typeof work>;
}
