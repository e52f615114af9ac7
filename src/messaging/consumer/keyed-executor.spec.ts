import { describe, expect, it } from '@jest/globals';
import { KeyedExecutor } from './keyed-executor.js';

describe('KeyedExecutor', () => {
  it('keeps the order of a key, also when a task fails', async () => {
    const executor = new KeyedExecutor(4);
    const seen: number[] = [];
    const tasks = [0, 1, 2, 3].map((n) =>
      executor.run('key', async () => {
        await new Promise((resolve) => setTimeout(resolve, 5 - n));
        seen.push(n);
        if (n === 1) throw new Error('failed');
      }),
    );
    expect((await Promise.allSettled(tasks)).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
    expect(seen).toEqual([0, 1, 2, 3]);
  });

  it('runs different keys in parallel, up to its bound', async () => {
    const executor = new KeyedExecutor(3);
    let running = 0;
    let most = 0;
    await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        executor.run(`key ${n}`, async () => {
          most = Math.max(most, ++running);
          await new Promise((resolve) => setImmediate(resolve));
          running--;
        }),
      ),
    );
    expect(most).toBe(3);
  });
});
