import { describe, expect, it } from '@jest/globals';
import { KeyedBatches } from './keyed-batches.js';

interface Item {
  readonly key: string;
  readonly n: number;
  readonly kind?: string;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('KeyedBatches', () => {
  it('puts together what comes together, and keeps a key out of a second batch until the first is done with it', async () => {
    const begun: { batch: readonly Item[]; done: (item: Item) => void; end: () => void }[] = [];
    const batches = new KeyedBatches<Item>({
      most: 3,
      atOnce: 2,
      kindOf: ({ kind }) => kind,
      work: (batch, done) => new Promise((end) => begun.push({ batch, done, end })),
    });
    for (const item of [
      { key: 'a', n: 1 },
      { key: 'a', n: 2 },
      { key: 'b', n: 1 },
      { key: 'a', n: 3 },
      { key: 'c', n: 1, kind: 'other' },
      { key: 'c', n: 2 },
      { key: 'd', n: 1, kind: 'other' },
    ])
      batches.add(item);
    await turn();
    const numbers = (): string[] => begun.map(({ batch }) => batch.map(({ key, n }) => `${key}${n}`).join());
    // `a3` waits for its key, `c2` because it is of another kind than `c1` and must not overtake it.
    expect(numbers()).toEqual(['a1,a2,b1', 'c1,d1']);
    begun[1]?.end();
    await turn();
    expect(numbers()).toHaveLength(2); // the batch has ended, but its keys are not done yet
    for (const item of begun[1]?.batch ?? []) begun[1]?.done(item);
    await turn();
    expect(numbers()[2]).toBe('c2');
    for (const item of begun[0]?.batch ?? []) begun[0]?.done(item);
    begun[0]?.end();
    await turn();
    expect(numbers()[3]).toBe('a3');
  });
});
