import { describe, expect, it } from '@jest/globals';
import { Writable } from 'node:stream';
import { writeTogether } from './write-together.js';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A stream that takes so many bytes before it is full, and what its system calls would have been. */
function stream(highWaterMark: number) {
  const calls: string[] = [];
  const writable = new Writable({
    highWaterMark,
    write: (chunk: Buffer, _encoding, done) => {
      calls.push(chunk.toString());
      setImmediate(done);
    },
    writev: (chunks, done) => {
      calls.push(chunks.map(({ chunk }) => (chunk as Buffer).toString()).join(''));
      setImmediate(done);
    },
  });
  writeTogether(writable);
  return { writable, calls };
}

describe('writing together', () => {
  it('writes with one call what a turn has written, in its order', async () => {
    const { writable, calls } = stream(1000);
    for (const text of ['a', 'b', 'c']) writable.write(text);
    expect(calls).toEqual([]);
    await turn();
    expect(calls).toEqual(['abc']);
    writable.write('d');
    await turn();
    expect(calls).toEqual(['abc', 'd']);
  });

  it('still says when the stream is full, and when it is not any more', async () => {
    const { writable, calls } = stream(3);
    let drained = 0;
    writable.on('drain', () => drained++);
    expect([writable.write('a'), writable.write('b'), writable.write('c')]).toEqual([true, true, false]);
    await turn();
    await turn();
    expect(calls).toEqual(['abc']);
    expect(drained).toBe(1);
  });

  it('writes before the end what comes right ahead of it', async () => {
    const { writable, calls } = stream(1000);
    writable.write('a');
    writable.end('b');
    await new Promise((resolve) => writable.once('finish', resolve));
    expect(calls.join('')).toBe('ab');
  });
});
