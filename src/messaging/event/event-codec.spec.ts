import { describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { decode, encode } from './event-codec.js';
import { InvalidEventError, MalformedEventError } from './event.errors.js';

const headers = { ce_id: randomUUID(), ce_source: 'urn:test', ce_type: 'test.nobody.knows', ce_partitionkey: 'k' };
const envelope = (data: unknown): Parameters<typeof encode>[0] => ({
  specversion: '1.0',
  id: headers.ce_id,
  source: headers.ce_source,
  type: headers.ce_type,
  subject: 'k',
  time: new Date().toISOString(),
  dataschema: 'urn:test',
  partitionkey: 'k',
  correlationid: 'c',
  data,
});
const body = (text: string): unknown => decode({ headers, payload: Buffer.from(text) }).data;

describe('the codec', () => {
  it.each([[{ a: 'nul \0' }], [{ a: { b: ['half \ud800'] } }], [{ a: '\udc00 half' }], [{ a: '\\u0000 and \0' }]])(
    'refuses to encode %j',
    (data) => {
      expect(() => encode(envelope(data))).toThrow(InvalidEventError);
    },
  );

  it.each([[{ a: 'line\n\u0001' }], [{ a: 'backslash \\u0000 u' }], [{ a: '🎉 日本' }], [{ a: [1, null, { b: '' }] }]])(
    'carries %j',
    (data) => {
      expect(body(encode(envelope(data)).payload)).toEqual(data);
    },
  );

  it.each([
    ['{"__proto__":{"x":1}}'],
    ['{"a":[{"__proto__":1}]}'],
    ['{"\\u005f_proto__":1}'],
    ['{"__pr\\u006fto__":1}'],
    ['{"\\u005F\\u005f\\u0070roto__":1}'],
  ])('refuses a member __proto__, however it is written: %s', (text) => {
    expect(() => body(text)).toThrow(MalformedEventError);
  });

  it('takes __proto__ as a text for what it is', () => {
    expect(body('{"a":"__proto__","b":"\\u005f"}')).toEqual({ a: '__proto__', b: '_' });
  });
});
