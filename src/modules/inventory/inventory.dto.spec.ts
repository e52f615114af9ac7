import { validationPipe } from '../../http/index.js';
import { PutStockItemBody } from './inventory.dto.js';

const valid = { name: 'Coffee', price: { amount: 1290, currency: 'EUR' }, onHand: 10 };

async function fieldsOf(body: unknown): Promise<string[]> {
  const error = await validationPipe()
    .transform(body, { type: 'body', metatype: PutStockItemBody })
    .then(
      () => undefined,
      (refusal: { status: number; errors: { field: string }[] }) => refusal,
    );
  if (error) expect(error.status).toBe(400);
  return [...new Set(error?.errors.map(({ field }) => field))];
}

const price = (amount: unknown, currency: unknown = 'EUR') => ({ ...valid, price: { amount, currency } });

describe('the body of PUT /inventory/:sku', () => {
  it.each<[string, unknown]>([
    ['a plain one', valid],
    ['what is free', price(0)],
    ['a price above 2^31', price(2_265_000_000)],
    ['the largest price', price(Number.MAX_SAFE_INTEGER)],
    ['an empty shelf', { ...valid, onHand: 0 }],
    ['the fullest shelf', { ...valid, onHand: 2 ** 31 - 1 }],
  ])('takes %s', async (_what, body) => {
    expect(await fieldsOf(body)).toEqual([]);
  });

  it.each<[string, unknown, string]>([
    ['no name', { ...valid, name: undefined }, 'name'],
    ['an empty name', { ...valid, name: '' }, 'name'],
    ['a name of 201 characters', { ...valid, name: 'x'.repeat(201) }, 'name'],
    ['no price', { ...valid, price: undefined }, 'price'],
    ['price null', { ...valid, price: null }, 'price'],
    ['a price that is a number', { ...valid, price: 1290 }, 'price'],
    ['a price that is a list', { ...valid, price: [valid.price] }, 'price'],
    ['amount −1', price(-1), 'price.amount'],
    ['amount 0.1+0.2', price(0.1 + 0.2), 'price.amount'],
    ['amount "12"', price('12'), 'price.amount'],
    ['amount 2^53+1', price(2 ** 53 + 1), 'price.amount'],
    ['amount 1e309', price(JSON.parse('1e309')), 'price.amount'],
    ['amount null', price(null), 'price.amount'],
    ['a currency in small letters', price(1, 'eur'), 'price.currency'],
    ['a currency with a line end', price(1, 'EUR\n'), 'price.currency'],
    ['no currency', price(1, null), 'price.currency'],
    ['a currency that is a list', price(1, ['EUR']), 'price.currency'],
    ['onHand −1', { ...valid, onHand: -1 }, 'onHand'],
    ['onHand 2^31', { ...valid, onHand: 2 ** 31 }, 'onHand'],
    ['onHand 1.5', { ...valid, onHand: 1.5 }, 'onHand'],
    ['onHand "10"', { ...valid, onHand: '10' }, 'onHand'],
    ['what is reserved', { ...valid, reserved: 0 }, 'reserved'],
    ['another sku', { ...valid, sku: 'b' }, 'sku'],
  ])('refuses %s, naming the field', async (_what, body, field) => {
    expect(await fieldsOf(body)).toContain(field);
  });
});
