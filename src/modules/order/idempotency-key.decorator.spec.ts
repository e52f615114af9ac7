import { readIdempotencyKey } from './idempotency-key.decorator.js';
import { InvalidIdempotencyKeyError } from './order.errors.js';

describe('the header Idempotency-Key', () => {
  it('may be absent', () => {
    expect(readIdempotencyKey(undefined)).toBeUndefined();
  });

  it.each(['a', '"8e03978e-40d5-43dd-bc93-6894a57f9324"', '~!,;=', 'x'.repeat(255)])('takes %j', (header) => {
    expect(readIdempotencyKey(header)).toBe(header);
  });

  it.each([
    ['empty', ''],
    ['too long', 'x'.repeat(256)],
    ['with a space', 'a b'],
    ['sent twice, as Node joins it', 'a, b'],
    ['sent twice, as a list', ['a', 'a']],
    ['with a control character', 'a\tb'],
    ['not ASCII', 'schlüssel'],
  ])('refuses one that is %s', (_what, header) => {
    expect(() => readIdempotencyKey(header)).toThrow(InvalidIdempotencyKeyError);
  });
});
