import { describe, expect, it } from '@jest/globals';
import { mutants } from '../mutants/mutants.mjs';
import { read } from './source-tree.js';

describe('the defects that are planted on purpose', () => {
  it('fit the code: what each replaces is there exactly once', () => {
    expect(mutants.length).toBeGreaterThan(50);
    const stale = mutants.flatMap(({ name, edits }) =>
      edits
        .map(({ file, search }) => ({ name, file, search, found: read(file).split(search).length - 1 }))
        .filter(({ found }) => found !== 1),
    );
    expect(stale).toEqual([]);
  });

  it('have names of their own', () => {
    const names = mutants.map(({ name }) => name);
    expect([...new Set(names)]).toEqual(names);
  });
});
