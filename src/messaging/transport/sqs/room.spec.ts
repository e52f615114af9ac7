import { describe, expect, it } from '@jest/globals';
import { Room } from './room.js';

describe('Room', () => {
  it('gives what there is, and the rest when there is some again, in the order of asking', async () => {
    const room = new Room(5);
    expect(await room.take(3)).toBe(3);
    expect(await room.take(3)).toBe(2);
    const taken: string[] = [];
    void room.take(4).then((places) => taken.push(`first ${places}`));
    void room.take(1).then((places) => taken.push(`second ${places}`));
    await Promise.resolve();
    expect(taken).toEqual([]);
    room.give(2);
    await new Promise(setImmediate);
    expect(taken).toEqual(['first 2']);
    room.give(2);
    await new Promise(setImmediate);
    expect(taken).toEqual(['first 2', 'second 1']);
    expect(await room.take(10)).toBe(1);
  });

  it('sends everybody away once it is closed', async () => {
    const room = new Room(1);
    await room.take(1);
    const waiting = room.take(1);
    room.close();
    expect(await waiting).toBe(0);
    room.give(1);
    expect(await room.take(1)).toBe(0);
  });
});
