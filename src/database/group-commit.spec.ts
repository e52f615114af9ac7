import { describe, expect, it } from '@jest/globals';
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Database } from './database.js';
import { GroupCommit, type GroupCommitOptions } from './group-commit.js';

type Work = GroupCommitOptions<number, number>['work'];

/** A database that remembers what its transactions have committed: the numbers that `work` has put into `tx`. */
function databaseOf(commits: number[][]): Pick<Database, 'transaction'> {
  return {
    transaction: async (work) => {
      const tx: number[] = [];
      await new Promise((resolve) => setImmediate(resolve));
      const value = await work(tx as never);
      commits.push(tx);
      return value;
    },
  };
}

function tenfold(failing: readonly number[], blamed = true): Work {
  return (tx, members, begun) => {
    const written = tx as never as number[];
    return Promise.resolve(
      members.map((member) => {
        if (blamed) begun(member);
        written.push(member.input);
        if (failing.includes(member.input)) throw new Error(`no ${member.input}`);
        return () => member.input * 10;
      }),
    );
  };
}

const outcomesOf = async (commit: GroupCommit<number, number>, inputs: readonly number[]): Promise<unknown[]> =>
  (await Promise.allSettled(inputs.map((input) => commit.run(input)))).map((result) =>
    result.status === 'fulfilled' ? result.value : (result.reason as Error).message,
  );

describe('GroupCommit', () => {
  it('lets go together who comes in the same turn, or while others are under way, up to the largest group', async () => {
    const commits: number[][] = [];
    const commit = new GroupCommit(databaseOf(commits), { most: 3, atOnce: 1, work: tenfold([]) });
    expect(await outcomesOf(commit, [1, 2, 3, 4, 5])).toEqual([10, 20, 30, 40, 50]);
    expect(commits).toEqual([
      [1, 2, 3],
      [4, 5],
    ]);
  });

  it('has each group’s transaction in the context of who is in it, not of who came before', async () => {
    const claimant = new AsyncLocalStorage<string>();
    const claimants: (string | undefined)[] = [];
    const database = databaseOf([]);
    const watched: typeof database = {
      transaction: (work) => {
        claimants.push(claimant.getStore());
        return database.transaction(work);
      },
    };
    const commit = new GroupCommit(watched, { most: 1, atOnce: 1, work: tenfold([]) });
    await Promise.all(['event', 'request', 'event'].map((who, n) => claimant.run(who, () => commit.run(n))));
    expect(claimants).toEqual(['event', 'request', 'event']);
  });

  it('has so many groups under way as it may, and no more', async () => {
    let underWay = 0;
    let most = 0;
    const work: Work = async (_, members) => {
      most = Math.max(most, ++underWay);
      await new Promise((resolve) => setImmediate(resolve));
      underWay--;
      return members.map(
        ({ input }) =>
          () =>
            input,
      );
    };
    const commit = new GroupCommit(databaseOf([]), { most: 2, atOnce: 3, work });
    await outcomesOf(commit, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(most).toBe(3);
  });

  it.each([true, false])('lets nobody fail for the fault of another, whether the culprit is known (%s) or not', async (blamed) => {
    const commits: number[][] = [];
    const commit = new GroupCommit(databaseOf(commits), { most: 10, atOnce: 1, work: tenfold([3, 5], blamed) });
    expect(await outcomesOf(commit, [1, 2, 3, 4, 5, 6])).toEqual([10, 20, 'no 3', 40, 'no 5', 60]);
    expect(commits.flat().sort((a, b) => a - b)).toEqual([1, 2, 4, 6]); // each once, and nothing of those that failed
    if (blamed) expect(commits).toContainEqual([1, 2, 4, 6]);
  });

  it('runs nothing again that may have been committed: where the connection is lost, everybody is told', async () => {
    const commits: number[][] = [];
    const { transaction } = databaseOf(commits);
    const lost: Pick<Database, 'transaction'> = {
      transaction: async (work) => {
        await transaction(work);
        throw new Error('Connection terminated unexpectedly');
      },
    };
    const commit = new GroupCommit(lost, { most: 10, atOnce: 1, work: tenfold([]) });
    expect(await outcomesOf(commit, [1, 2, 3])).toEqual(Array(3).fill('Connection terminated unexpectedly'));
    expect(commits).toEqual([[1, 2, 3]]);
  });

  it('gives a group up in which one after the other fails', async () => {
    const commits: number[][] = [];
    const failing = [2, 3, 4, 5, 6, 7];
    const commit = new GroupCommit(databaseOf(commits), { most: 10, atOnce: 1, work: tenfold(failing) });
    const outcomes = await outcomesOf(commit, [1, ...failing, 8]);
    expect(outcomes).toEqual([10, ...failing.map((n) => `no ${n}`), 80]);
    expect(commits).toEqual([[1], [8]]);
  });

  it('answers a member by itself whose result is a refusal, and commits the others', async () => {
    const commits: number[][] = [];
    const work: Work = (_, members) =>
      Promise.resolve(
        members.map(({ input }) => () => {
          if (input === 2) throw new Error('refused');
          return input;
        }),
      );
    const commit = new GroupCommit(databaseOf(commits), { most: 10, atOnce: 1, work });
    expect(await outcomesOf(commit, [1, 2, 3])).toEqual([1, 'refused', 3]);
    expect(commits).toHaveLength(1);
  });
});
