import { describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { createRequire } from 'node:module';
import {
  handleRecordsAtOnce,
  recordDecoder,
  recordEncoder,
  type BatchContext,
  type DecodeRecord,
  type EncodableRecord,
  type EncodeRecord,
} from './kafkajs-records.js';

const require = createRequire(import.meta.url);
const RECORD = 'kafkajs/src/protocol/recordBatch/record/v0/index.js';
const DECODER = 'kafkajs/src/protocol/recordBatch/record/v0/decoder.js';
const BATCH_DECODER = 'kafkajs/src/protocol/recordBatch/v0/decoder.js';
const PRODUCE = 'kafkajs/src/protocol/requests/produce/v3/request.js';
const encoder = require('kafkajs/src/protocol/encoder.js') as { prototype: { buf: Buffer; offset: number } };
const original = require(RECORD) as EncodeRecord;
const Decoder = require('kafkajs/src/protocol/decoder.js') as new (buffer: Buffer) => { readVarIntBytes(): Buffer; buffer: Buffer };
const originalDecoder = require(DECODER) as DecodeRecord;

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
    handleRecordsAtOnce();
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

describe('records read at once', () => {
  const refuse: DecodeRecord = () => {
    throw new Error('went the other way');
  };
  const LOG_APPEND_TIME = 1;
  const batch: BatchContext = {
    firstOffset: '9007199254',
    firstTimestamp: '1700000000000',
    magicByte: 2,
    isControlBatch: false,
    timestampType: 0,
    maxTimestamp: '1700000000005',
  };
  /** As it lies in a batch, behind its length. */
  const encoded = (record: EncodableRecord): Buffer => {
    const { buffer } = original(record) as unknown as { buffer: Buffer };
    return new Decoder(buffer).readVarIntBytes();
  };
  const read = (decode: DecodeRecord, buffer: Buffer, context?: BatchContext): unknown => decode(new Decoder(buffer), context);

  it('are what kafkajs reads', () => {
    const name = text.filter((name) => !(name in {}));
    const record = fc.record({
      key: fc.option(text),
      value: fc.option(fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes))),
      headers: fc.dictionary(name, text, { maxKeys: 20 }),
      offsetDelta: fc.nat(5000),
      timestampDelta: fc.oneof(fc.nat(100), fc.integer({ min: -100_000_000, max: 100_000_000 })),
    });
    const context = fc.record({
      firstOffset: fc.oneof(fc.constant('0'), fc.nat().map(String), fc.constant(String(2 ** 53 - 10_000))),
      firstTimestamp: fc.oneof(fc.constant('-1'), fc.nat(2_000_000_000_000).map(String)),
      magicByte: fc.constant(2),
      isControlBatch: fc.boolean(),
      timestampType: fc.constantFrom(0, LOG_APPEND_TIME),
      maxTimestamp: fc.constantFrom('0', '1700000000005'),
    });
    fc.assert(
      fc.property(record, context, (record, context) => {
        const bytes = encoded(record);
        expect(read(recordDecoder(refuse), bytes, context)).toStrictEqual(read(originalDecoder, bytes, context));
      }),
      { numRuns: 300 },
    );
    const large = encoded({ key: 'k', value: Buffer.alloc(3_000_000, 7), headers: {} });
    expect(read(recordDecoder(refuse), large, batch)).toEqual(read(originalDecoder, large, batch));
  });

  it.each<[string, EncodableRecord, BatchContext | undefined]>([
    ['a header that comes twice', { value: null, headers: { a: ['1', '2'] } }, batch],
    [
      'a header of a name that every object knows',
      { value: null, headers: JSON.parse('{"__proto__":"1"}') as Record<string, string> },
      batch,
    ],
    ['an offset past all numbers', { value: null, offsetDelta: 1 }, { ...batch, firstOffset: '9223372036854775800' }],
    ['a time past all numbers', { value: null }, { ...batch, firstTimestamp: '9223372036854775800' }],
    ['a time far from that of its batch', { value: null, timestampDelta: 2 ** 31 }, batch],
  ])('leave to kafkajs what is no plain event: %s', (_what, record, context) => {
    const bytes = encoded(record);
    expect(() => read(recordDecoder(refuse), bytes, context)).toThrow('went the other way');
    expect(read(recordDecoder(originalDecoder), bytes, context)).toStrictEqual(read(originalDecoder, bytes, context));
  });

  it('leave to kafkajs one that is cut off, wherever it is', () => {
    const bytes = encoded({ key: 'key', value: Buffer.from('value'), headers: { a: '1', b: '2' } });
    for (let length = 0; length < bytes.length; length++) {
      expect(() => read(recordDecoder(refuse), bytes.subarray(0, length), batch)).toThrow('went the other way');
    }
    expect(read(recordDecoder(refuse), bytes, batch)).toBeDefined();
  });

  it('are what a batch of kafkajs is read as', async () => {
    const { RecordBatch } = require('kafkajs/src/protocol/recordBatch/v0/index.js') as {
      RecordBatch: (batch: object) => Promise<{ buffer: Buffer }>;
    };
    const records = [0, 1, 2].map((offsetDelta) =>
      original({ key: `k${offsetDelta}`, value: Buffer.from('v'), headers: { a: 'é' }, offsetDelta }),
    );
    const { buffer } = await RecordBatch({ records, firstTimestamp: 1_700_000_000_000, maxTimestamp: 1_700_000_000_000 });
    type DecodeBatch = (decoder: unknown) => Promise<object>;
    const theirs = await (require(BATCH_DECODER) as DecodeBatch)(new Decoder(buffer));
    jest.resetModules();
    handleRecordsAtOnce();
    const module = require.cache[require.resolve(DECODER)] as NodeJS.Module;
    const ours = module.exports as DecodeRecord;
    const decode = jest.fn(ours);
    module.exports = decode;
    expect(await (require(BATCH_DECODER) as DecodeBatch)(new Decoder(buffer))).toEqual(theirs);
    expect(decode).toHaveBeenCalledTimes(records.length);
    expect(ours.toString()).not.toBe(originalDecoder.toString());
  });
});
