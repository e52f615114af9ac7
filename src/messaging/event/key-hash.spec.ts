import { describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { bucketOf, keyHash } from './key-hash.js';

const GOLDEN = [2872998923, 444641715, 2449496732, 1932279587, 413044799];

describe('keyHash', () => {
  it('never changes: stored rows lie in lanes by it', () => {
    expect(['', 'a', 'order-1', 'ünïcödé', '01a20e8a-32c3-7274-9b68-ebfb057b18d4'].map(keyHash)).toEqual(GOLDEN);
  });

  it('spreads ids evenly over lanes', () => {
    const lanes = Array.from({ length: 16 }, () => 0);
    for (let n = 0; n < 16_000; n++) {
      const lane = bucketOf(randomUUID(), 16);
      lanes[lane] = (lanes[lane] ?? 0) + 1;
    }
    for (const count of lanes) expect(Math.abs(count - 1000)).toBeLessThan(250);
  });
});
