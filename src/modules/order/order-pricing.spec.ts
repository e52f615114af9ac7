import { MixedCurrenciesError, TotalTooLargeError, UnknownSkuError } from './order.errors.js';
import { priceOrder } from './order-pricing.js';

const EUR = 'EUR';
const catalogue = new Map([
  ['coffee', { price: 1290n, currency: EUR }],
  ['filter', { price: 350n, currency: EUR }],
  ['free', { price: 0n, currency: EUR }],
  ['tea', { price: 900n, currency: 'USD' }],
  ['palace', { price: BigInt(Number.MAX_SAFE_INTEGER), currency: EUR }],
]);

describe('pricing an order', () => {
  it('takes the prices of the catalogue and sums them up', () => {
    expect(
      priceOrder(
        [
          { sku: 'coffee', quantity: 2 },
          { sku: 'filter', quantity: 10 },
          { sku: 'free', quantity: 1_000_000 },
        ],
        catalogue,
      ),
    ).toEqual({
      items: [
        { sku: 'coffee', quantity: 2, unitPrice: 1290n },
        { sku: 'filter', quantity: 10, unitPrice: 350n },
        { sku: 'free', quantity: 1_000_000, unitPrice: 0n },
      ],
      total: 6080n,
      currency: EUR,
    });
  });

  it('names every item that the catalogue does not have', () => {
    const items = ['nope', 'coffee', 'constructor'].map((sku) => ({ sku, quantity: 1 }));
    expect(() => priceOrder(items, catalogue)).toThrow(UnknownSkuError);
    expect(caught(() => priceOrder(items, catalogue))).toMatchObject({ errors: [{ field: 'items.0.sku' }, { field: 'items.2.sku' }] });
  });

  it('names the items of another currency than the first', () => {
    const items = ['coffee', 'tea'].map((sku) => ({ sku, quantity: 1 }));
    expect(() => priceOrder(items, catalogue)).toThrow(MixedCurrenciesError);
    expect(caught(() => priceOrder(items, catalogue))).toMatchObject({ errors: [{ field: 'items.1.sku' }] });
  });

  it('takes the largest total that a JSON number holds exactly, and no larger one', () => {
    expect(priceOrder([{ sku: 'palace', quantity: 1 }], catalogue).total).toBe(9_007_199_254_740_991n);
    const tooMuch = ['palace', 'filter'].map((sku) => ({ sku, quantity: 1 }));
    expect(() => priceOrder(tooMuch, catalogue)).toThrow(TotalTooLargeError);
    expect(() => priceOrder([{ sku: 'palace', quantity: 1_000_000 }], catalogue)).toThrow(TotalTooLargeError);
  });
});

function caught(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error;
  }
}
