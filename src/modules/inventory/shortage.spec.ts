import { shortOf } from './shortage.js';

const stock = [
  { sku: 'a', onHand: 10n, reserved: 7n },
  { sku: 'b', onHand: 1n, reserved: 0n },
  { sku: 'c', onHand: 5n, reserved: 5n },
];

describe('shortage', () => {
  it.each([
    ['takes the last one', [{ sku: 'a', quantity: 3 }], []],
    ['finds one too many', [{ sku: 'a', quantity: 4 }], ['a']],
    ['finds what is all reserved', [{ sku: 'c', quantity: 1 }], ['c']],
    ['finds what the catalogue has lost', [{ sku: 'gone', quantity: 1 }], ['gone']],
    [
      'names each, in the order of the lines',
      [
        { sku: 'c', quantity: 1 },
        { sku: 'b', quantity: 1 },
        { sku: 'a', quantity: 9 },
      ],
      ['c', 'a'],
    ],
  ])('%s', (_name, lines, short) => {
    expect(shortOf(lines, stock)).toEqual(short);
  });
});
