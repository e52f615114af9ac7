import { validationPipe } from '../../http/index.js';
import { PlaceOrderBody } from './order.dto.js';

const valid = {
  customerId: '0199c2a0-0000-7000-8000-000000000001',
  items: [
    { sku: 'coffee-1kg', quantity: 1 },
    { sku: 'A.b_c-9', quantity: 1_000_000 },
  ],
  paymentToken: 'tok_ok',
};

async function fieldsOf(body: unknown): Promise<string[]> {
  const error = await validationPipe()
    .transform(body, { type: 'body', metatype: PlaceOrderBody })
    .then(
      () => undefined,
      (refusal: { status: number; errors: { field: string }[] }) => refusal,
    );
  if (error) expect(error.status).toBe(400);
  return [...new Set(error?.errors.map(({ field }) => field))];
}

const items = (...entries: unknown[]) => ({ ...valid, items: entries });
const quantity = (value: unknown) => items({ sku: 'a', quantity: value });

describe('the body of POST /orders', () => {
  it.each<[string, unknown]>([
    ['a plain one', valid],
    ['a note', { ...valid, note: '🔔'.repeat(2000) }],
    ['an empty note', { ...valid, note: '' }],
    ['100 items', items(...Array.from({ length: 100 }, (_, n) => ({ sku: `s${n}`, quantity: 1 })))],
    ['a sku of 64 characters', items({ sku: 'x'.repeat(64), quantity: 1 })],
    ['a customer in capitals', { ...valid, customerId: valid.customerId.toUpperCase() }],
  ])('takes %s', async (_what, body) => {
    expect(await fieldsOf(body)).toEqual([]);
  });

  it.each<[string, unknown, string]>([
    ['no customer', { ...valid, customerId: undefined }, 'customerId'],
    ['a customer that is no UUID', { ...valid, customerId: "'; DROP TABLE orders; --" }, 'customerId'],
    ['no items', { ...valid, items: undefined }, 'items'],
    ['items null', { ...valid, items: null }, 'items'],
    ['an empty list', items(), 'items'],
    ['101 items', items(...Array.from({ length: 101 }, (_, n) => ({ sku: `s${n}`, quantity: 1 }))), 'items'],
    ['items that are one object', { ...valid, items: { sku: 'a', quantity: 1 } }, 'items'],
    ['a sku twice', items({ sku: 'a', quantity: 1 }, { sku: 'a', quantity: 2 }), 'items'],
    ['an item that is null', items(null), 'items'],
    ['an item that is a number', items(1), 'items'],
    ['an item that is a list', items([{ sku: 'a', quantity: 1 }]), 'items'],
    ['an empty sku', items({ sku: '', quantity: 1 }), 'items.0.sku'],
    ['a sku of 65 characters', items({ sku: 'x'.repeat(65), quantity: 1 }), 'items.0.sku'],
    ['a sku with a space', items({ sku: 'a b', quantity: 1 }), 'items.0.sku'],
    ['a sku with a line end', items({ sku: 'a\n', quantity: 1 }), 'items.0.sku'],
    ['a price', items({ sku: 'a', quantity: 1, unitPrice: 1 }), 'items.0.unitPrice'],
    ['quantity −1', quantity(-1), 'items.0.quantity'],
    ['quantity 0', quantity(0), 'items.0.quantity'],
    ['quantity 1,000,001', quantity(1_000_001), 'items.0.quantity'],
    ['quantity 2^31', quantity(2 ** 31), 'items.0.quantity'],
    ['quantity 2^53+1', quantity(2 ** 53 + 1), 'items.0.quantity'],
    ['quantity 1e309', quantity(JSON.parse('1e309')), 'items.0.quantity'],
    ['quantity 0.1+0.2', quantity(0.1 + 0.2), 'items.0.quantity'],
    ['quantity "12"', quantity('12'), 'items.0.quantity'],
    ['quantity null', quantity(null), 'items.0.quantity'],
    ['quantity true', quantity(true), 'items.0.quantity'],
    ['quantity [1]', quantity([1]), 'items.0.quantity'],
    ['no token', { ...valid, paymentToken: undefined }, 'paymentToken'],
    ['an empty token', { ...valid, paymentToken: '' }, 'paymentToken'],
    ['a token of 256 characters', { ...valid, paymentToken: 'x'.repeat(256) }, 'paymentToken'],
    ['a token that is a number', { ...valid, paymentToken: 4242 }, 'paymentToken'],
    ['a note of 2,001 characters', { ...valid, note: 'x'.repeat(2001) }, 'note'],
    ['a note that is null', { ...valid, note: null }, 'note'],
    ['a note that is a list', { ...valid, note: ['x'] }, 'note'],
    ['a status', { ...valid, status: 'confirmed' }, 'status'],
    ['an id', { ...valid, id: valid.customerId }, 'id'],
    ['a total', { ...valid, total: { amount: 1, currency: 'EUR' } }, 'total'],
  ])('refuses %s, naming the field', async (_what, body, field) => {
    expect(await fieldsOf(body)).toContain(field);
  });
});
