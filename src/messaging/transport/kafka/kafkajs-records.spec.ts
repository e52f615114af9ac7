import { describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { createRequire } from 'node:module';
import { encodeRecordsAtOnce, recordEncoder, type EncodableRecord, type EncodeRecord } from './kafkajs-records.js';

const require = createRequire(import.meta.url);
const RECORD = 'kafkajs/src/protocol/recordBatch/record/v0/index.js';
const PRODUCE = 'kafkajs/src/protocol/requests/produce/v3/request.js';
const encoder = require('kafkajs/src/protocol/encoder.js') as { prototype: { buf: Buffer; offset: number } };
const original = require(RECORD) as EncodeRecord;

type ProduceRequest = (request: object) => { encode: () => Promise<{ buffer: Buffer }> };

function bytesOf(encode: EncodeRecord, record: EncodableRecord): string {
  return (encode(record) as unknown as { buffer: Buffer }).buffer.toString('hex');
}

const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 300 }), fc.constantFrom('', '\ud800', 'é€😀', 'x'.repeat(20_000)));
const plain = fc.record({
  key: text,
  value: fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
  headers: fc.dictionary(text, text, { maxKeys: 20 }),
  offsetDelta: fc.nat(5000),
  timestampDelta: fc.constant(0),
});

describe('records written at once', () => {
  const refuse: EncodeRecord = () => {
    throw new Error('went the other way');
  };

  it('are byte for byte what kafkajs writes', () => {
    const ours = recordEncoder(refuse, encoder.prototype);
    fc.assert(
      fc.property(plain, (record) => bytesOf(ours, record) === bytesOf(original, record)),
      { numRuns: 2000 },
    );
    const large = { key: 'k', value: Buffer.alloc(3_000_000, 7), headers: {} };
    expect(bytesOf(ours, large) === bytesOf(original, large)).toBe(true);
  });

  it.each<[string, EncodableRecord]>([
    ['no key', { key: null, value: Buffer.from('v') }],
    ['a key of bytes', { key: Buffer.from('k'), value: Buffer.from('v') }],
    ['no value', { key: 'k', value: null }],
    ['a value of text', { key: 'k', value: 'v' }],
    ['a header of bytes', { key: 'k', value: Buffer.from('v'), headers: { a: Buffer.from('1') } }],
    ['a header that comes twice', { key: 'k', value: Buffer.from('v'), headers: { a: ['1', '2'] } }],
    ['a time of its own', { key: 'k', value: Buffer.from('v'), timestampDelta: 5 }],
  ])('leave to kafkajs what is no plain event: %s', (_what, record) => {
    expect(() => recordEncoder(refuse, encoder.prototype)(record)).toThrow('went the other way');
    expect(bytesOf(recordEncoder(original, encoder.prototype), record)).toBe(bytesOf(original, record));
  });

  it('are what a request of kafkajs holds, with the same checksum', async () => {
    const messages = [1, 2, 3].map((n) => ({
      key: `k${n}`,
      value: Buffer.from(`v${n}`),
      headers: { ce_id: String(n), 'content-type': 'é' },
    }));
    const now = jest.spyOn(Date, 'now').mockReturnValue(1_700_000_000_000); // the batch notes when it was made
    const request = async (): Promise<string> => {
      const topicData = [{ topic: 't', partitions: [{ partition: 0, firstSequence: 0, messages }] }];
      const { buffer } = await (require(PRODUCE) as ProduceRequest)({ acks: -1, timeout: 1000, topicData }).encode();
      return buffer.toString('hex');
    };
    const theirs = await request();
    jest.resetModules();
    encodeRecordsAtOnce();
    const module = require.cache[require.resolve(RECORD)] as NodeJS.Module;
    const ours = module.exports as EncodeRecord;
    const encode = jest.fn(ours);
    module.exports = encode;
    expect(await request()).toBe(theirs);
    expect(encode).toHaveBeenCalledTimes(messages.length);
    expect(ours.toString()).not.toBe(original.toString());
    now.mockRestore();
  });
});
