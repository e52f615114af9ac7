import { describe, expect, it } from '@jest/globals';
import { MATRIX_FILE, namesOfTests, ownTests, proofsOf, readCells, render } from '../../scripts/testing/fault-matrix.mjs';
import { BROKERS, faults } from '../faults/fault-table.mjs';
import { read } from './source-tree.js';

/** What has to be proved before a release, by the families of faults. */
const STARRED = [
  'P1 P2 P3 P4 P5 P6 P7 P9 P10 P11 P12 P13 P16',
  'K1 K2 K3 K4 K5 K6 K8 K9 K10 K12 K14 K18',
  'R1 R2 R3 R4 R5 R6 R7 R8 R10',
  'S1 S4 S5 S6 S8 S9 S11',
  'E1',
  'C1 C2 C3 C4 C5 C6 C8 C9 C10 C11 C12 C14',
  'D1 D2 D3 D4',
  'G1 G2 G3 G4 G5',
  'H1 H2 H3 H4 H5 H7 H8 H9 H10 H11 H12',
  'O1 O2',
].flatMap((family) => family.split(' '));

describe('the table of faults', () => {
  const own = ownTests();

  it('has every starred fault, once', () => {
    expect(faults.map(({ id }) => id)).toEqual(STARRED);
  });

  it('has a proof for each place that a fault concerns', () => {
    const unproved = faults.flatMap((fault) =>
      fault.on.filter((place) => proofsOf(fault, place, own).length === 0).map((place) => `${fault.id} on ${place}`),
    );
    expect(unproved).toEqual([]);
  });

  it('says why a fault does not concern a broker', () => {
    const unexplained = faults.filter(
      ({ on, elsewhere }) => !on.every((place) => place === 'any') && BROKERS.some((broker) => !on.includes(broker)) && !elsewhere,
    );
    expect(unexplained.map(({ id }) => id)).toEqual([]);
    expect(faults.filter(({ on, elsewhere }) => on.length === 0 && !elsewhere)).toEqual([]);
  });

  it('names tests that exist', () => {
    const missing = faults.flatMap(({ id, proofs = [] }) =>
      proofs.filter(({ file, test }) => !namesOfTests(file).includes(test)).map(({ file, test }) => `${id}: ${file} "${test}"`),
    );
    expect(missing).toEqual([]);
  });
});

describe(MATRIX_FILE, () => {
  const page = read(MATRIX_FILE);

  it('is what the table, the tests and the last runs say', async () => {
    expect(page).toBe(await render(readCells(page)));
  });

  it('has no failure and nothing that was never run', () => {
    expect([...readCells(page)].filter(([, state]) => !['passed', 'n/a', '–'].includes(state))).toEqual([]);
  });
});
