import { AsyncResource } from 'node:async_hooks';
import { afterThisTurn } from './after-this-turn.js';
import { isDatabaseUnavailable, isRetryableConflict, isTransactionExpired } from './database-errors.js';
import type { Database, Transaction } from './database.js';

/** What somebody wants done, and the context (request, causation) to do it in. */
export interface Member<In> {
  readonly input: In;
  readonly inContext: <R>(work: () => R) => R;
}

export interface GroupCommitOptions<In, Out> {
  /** The largest group. */
  readonly most: number;
  /** Groups that are under way at the same time. */
  readonly atOnce: number;
  /**
   * Does what the members want, in one transaction; answers for each how to get its result, which may throw where the
   * member has no part in what is committed. When it throws itself, all is rolled back: at the fault of the member
   * that it has called `begun` for last, if it has. As with `Database.transaction`, it may be run anew and must do nothing outside of `tx`.
   * After a GroupAgainError it is run anew for the same members, and must see to it that this comes to an end.
   */
  readonly work: (tx: Transaction, members: readonly Member<In>[], begun: (member: Member<In>) => void) => Promise<readonly (() => Out)[]>;
}

interface Waiting<In, Out> extends Member<In> {
  readonly resolve: (value: Out) => void;
  readonly reject: (error: unknown) => void;
}

/** Thrown by the work of a group that is to be rolled back and done anew, in another way, for the same members. */
export class GroupAgainError extends Error {
  readonly code = 'DATABASE.GROUP_AGAIN';
  override readonly name = 'GroupAgainError';
}

/** Groups that fail one member after the other are given up after so many; the rest go alone. */
const REGROUPINGS = 3;
/** For so long after a deadlock there is one group at a time. */
const CAUTIOUS_MS = 10_000;

/**
 * Commits together what is wanted at the same time: one BEGIN, one flush of the outbox and one COMMIT for all of it.
 * Nobody waits for company: who comes alone goes alone, and who comes meanwhile is in the next group.
 *
 * Why it is correct: nobody is answered before the commit. All of a group commit or none; when it fails, all is rolled
 * back, the member at fault runs again by itself, and the others without it. So nobody fails for another's fault, and
 * nobody is told of what was not committed. A group whose end is not known, because the database went away, is not
 * run again: its members are told so, as they would be by a transaction of their own.
 */
export class GroupCommit<In, Out> {
  private waiting: Waiting<In, Out>[] = [];
  private underWay = 0;
  private cautiousUntil = 0;
  /** What comes together goes together, instead of the first alone and the rest behind it. */
  private readonly soon = afterThisTurn(() => this.next());

  constructor(
    private readonly database: Pick<Database, 'transaction'>,
    private readonly options: GroupCommitOptions<In, Out>,
  ) {}

  /** Settles after the commit or the rollback. */
  run(input: In): Promise<Out> {
    return new Promise((resolve, reject) => {
      const context = new AsyncResource('GroupCommit');
      this.waiting.push({ input, inContext: (work) => context.runInAsyncScope(work), resolve, reject });
      this.soon();
    });
  }

  private next(): void {
    const atOnce = performance.now() < this.cautiousUntil ? 1 : this.options.atOnce;
    while (this.underWay < atOnce && this.waiting.length > 0) {
      this.underWay++;
      void this.commit(this.waiting.splice(0, this.options.most), REGROUPINGS).finally(() => {
        this.underWay--;
        this.soon();
      });
    }
  }

  /** Never rejects. */
  private async commit(members: readonly Waiting<In, Out>[], regroupings: number): Promise<void> {
    const [first] = members as readonly [Waiting<In, Out>];
    let atFault: Member<In> | undefined;
    try {
      // In the context of one of its own, not of whoever came before: that is who claims a connection, see FairShare.
      const results = await first.inContext(() =>
        this.database.transaction(
          async (tx) => {
            atFault = undefined;
            const found = await this.options.work(tx, members, (member) => (atFault = member));
            atFault = undefined;
            return found;
          },
          // A group that is in conflict with another is not tried again as a whole: alone its members are less in the way.
          members.length > 1 ? { tries: 1 } : {},
        ),
      );
      members.forEach((member, index) => settle(member, results[index]));
    } catch (error) {
      if (error instanceof GroupAgainError) return this.commit(members, regroupings);
      // Where the connection was lost, the group may have been committed: to run it again could do everything twice.
      const mayBeCommitted = isDatabaseUnavailable(error) || isTransactionExpired(error);
      if (members.length === 1 || mayBeCommitted) return members.forEach(({ reject }) => reject(error));
      if (isRetryableConflict(error)) this.cautiousUntil = performance.now() + CAUTIOUS_MS;
      const alone = atFault && regroupings > 0 ? members.filter((member) => member === atFault) : members;
      const together = members.filter((member) => !alone.includes(member));
      await Promise.all([...alone.map((member) => this.commit([member], 0)), this.commitAgain(together, regroupings - 1)]);
    }
  }

  private async commitAgain(members: readonly Waiting<In, Out>[], regroupings: number): Promise<void> {
    if (members.length > 0) await this.commit(members, regroupings);
  }
}

function settle<Out>(member: Waiting<unknown, Out>, result: (() => Out) | undefined): void {
  try {
    if (!result) throw new Error('a member of a group commit was left without a result');
    member.resolve(result());
  } catch (error) {
    member.reject(error);
  }
}
