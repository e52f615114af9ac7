import type { Database, Transaction } from './database.js';
import { GroupAgainError, GroupCommit, type Member } from './group-commit.js';
import { OutOfTurnError, PartFailedError } from './line-up.js';

const MOST_IN_A_GROUP = 64;
const GROUPS_AT_ONCE = 4;

interface Wanted<In, Shared> {
  readonly input: In;
  readonly work: (tx: Transaction, shared: Shared) => Promise<unknown>;
}

export interface GroupedTransactionsOptions<In, Shared> {
  /** Is done first in each transaction, for all that share it; every work is given what it answers. */
  readonly first?: (tx: Transaction, inputs: readonly In[]) => Promise<Shared>;
  /** Is called when a work has asked one statement after another, so that they take turns from then on. */
  readonly onTurns?: () => void;
}

/**
 * Transactions of one kind of work, written as for `Database.transaction`, which share a BEGIN, a flush of the outbox
 * and a COMMIT where they are wanted at the same time (GroupCommit). Each sees what it would see if the others had
 * committed before it. Works that ask one statement each, by `$queryRaw` or `$executeRaw`, run side by side, so that
 * their statements share a round trip too (`Database.sideBySide`). Where one turns out to need more, they take turns, one
 * after the other, from then on.
 *
 * ```ts
 * private readonly rating: GroupedTransactions; // one for each kind of work
 *
 * constructor(database: Database, private readonly outbox: Outbox) {
 *   this.rating = new GroupedTransactions(database);
 * }
 *
 * async rate(productId: string, stars: number): Promise<void> {
 *   await this.rating.run(async (tx) => {
 *     await tx.$executeRaw`INSERT INTO rating (product_id, stars) VALUES (${productId}::uuid, ${stars})`;
 *     this.outbox.emit(tx, ProductRated.of({ productId, stars }));
 *   });
 * }
 * ```
 */
export class GroupedTransactions<In = void, Shared = void> {
  private readonly commits: GroupCommit<Wanted<In, Shared>, unknown>;
  private takeTurns = false;

  constructor(
    private readonly database: Database,
    private readonly options: GroupedTransactionsOptions<In, Shared> = {},
  ) {
    this.commits = new GroupCommit<Wanted<In, Shared>, unknown>(database, {
      most: MOST_IN_A_GROUP,
      atOnce: GROUPS_AT_ONCE,
      work: (tx, members, begun) => this.runAll(tx, members, begun),
    });
  }

  /**
   * Answers what the work answers, once it is committed. The work may be run anew: it must do nothing outside of `tx`.
   * @throws whatever the work throws, which takes no other with it
   */
  run<T>(work: (tx: Transaction, shared: Shared) => Promise<T>, input: In): Promise<T> {
    return this.commits.run({ input, work }) as Promise<T>;
  }

  private async runAll(
    tx: Transaction,
    members: readonly Member<Wanted<In, Shared>>[],
    begun: (member: Member<Wanted<In, Shared>>) => void,
  ): Promise<(() => unknown)[]> {
    const inputs = members.map(({ input }) => input.input);
    const shared = (await this.options.first?.(tx, inputs)) as Shared;
    const works = members.map(
      ({ input: { work }, inContext }) =>
        (part: Transaction): Promise<unknown> =>
          inContext(() => this.database.runIn(part, () => work(part, shared))),
    );
    const begin = (index: number): void => begun(members[index] as (typeof members)[number]);
    const results = members.length > 1 && !this.takeTurns ? await this.sideBySide(tx, works, begin) : await inTurns(tx, works, begin);
    return results.map((result) => () => result);
  }

  private async sideBySide(
    tx: Transaction,
    works: readonly ((part: Transaction) => Promise<unknown>)[],
    atFault: (part: number) => void,
  ): Promise<unknown[]> {
    try {
      return await this.database.sideBySide(tx, works);
    } catch (error) {
      if (error instanceof PartFailedError) {
        atFault(error.part);
        throw error.cause;
      }
      if (!(error instanceof OutOfTurnError)) throw error;
      // From now on no group comes here: the one that begins anew comes to an end.
      if (!this.takeTurns) this.options.onTurns?.();
      this.takeTurns = true;
      throw new GroupAgainError('a work asked more than one statement', { cause: error });
    }
  }
}

async function inTurns(
  tx: Transaction,
  works: readonly ((tx: Transaction) => Promise<unknown>)[],
  begin: (index: number) => void,
): Promise<unknown[]> {
  const results: unknown[] = [];
  for (const [index, work] of works.entries()) {
    begin(index);
    results.push(await work(tx));
  }
  return results;
}
