import fc from 'fast-check';
import { allot, type Line } from './allotment.js';

const stock = [
  { sku: 'a', onHand: 10n, reserved: 7n },
  { sku: 'b', onHand: 1n, reserved: 0n },
  { sku: 'c', onHand: 5n, reserved: 5n },
];

describe('allotment', () => {
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
  ])('%s', (_name, items, short) => {
    const order = { items };
    expect(allot([order], stock)).toEqual(
      short.length > 0 ? { served: [], refused: [{ order, skus: short }] } : { served: [order], refused: [] },
    );
  });

  it('serves orders in turn: who gets nothing leaves all to those behind', () => {
    const asks = [{ a: 2, b: 2 }, { a: 2 }, { a: 2 }, { a: 1, b: 1 }];
    const orders = asks.map((ask) => ({ items: Object.entries(ask).map(([sku, quantity]) => ({ sku, quantity })) }));
    const [first, second, third, fourth] = orders;
    expect(allot(orders, stock)).toEqual({
      served: [second, fourth],
      refused: [
        { order: first, skus: ['b'] },
        { order: third, skus: ['a'] },
      ],
    });
  });

  it('never gives more than there is, and refuses only what is not there', () => {
    const line = (sku: string): fc.Arbitrary<Line> => fc.record({ sku: fc.constant(sku), quantity: fc.integer({ min: 1, max: 4 }) });
    const items = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'gone'), { minLength: 1 }).chain((skus) => fc.tuple(...skus.map(line)));
    fc.assert(
      fc.property(fc.array(fc.record({ items }), { maxLength: 12 }), (orders) => {
        const free = new Map<string, number>(stock.map(({ sku, onHand, reserved }) => [sku, Number(onHand - reserved)]));
        const { served, refused } = allot(orders, stock);
        expect(served.length + refused.length).toBe(orders.length);
        for (const order of orders) {
          const short = order.items.filter(({ sku, quantity }) => quantity > (free.get(sku) ?? 0)).map(({ sku }) => sku);
          expect(refused.find((one) => one.order === order)?.skus ?? []).toEqual(short);
          expect(served.includes(order)).toBe(short.length === 0);
          if (short.length === 0) for (const { sku, quantity } of order.items) free.set(sku, (free.get(sku) ?? 0) - quantity);
        }
        for (const left of free.values()) expect(left).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});
