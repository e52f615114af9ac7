import type { Message } from '@aws-sdk/client-sqs';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { messageBytes, type OutgoingMessage } from '../broker-adapter.js';
import { largestPayload, pack, unpack } from './sqs.message.js';

/** What both the documentation and each server that we know allow. */
const ALLOWED = /^[\t\n\r\x20-\ud7ff\ue000-\ufffd]+$/;
const text = fc.string({ unit: 'binary' });

function message(other: Partial<OutgoingMessage>): OutgoingMessage {
  return { eventId: 'id', topic: 'topic', type: 'type', key: 'key', headers: {}, payload: Buffer.from('{}'), ...other };
}

function carried(outgoing: OutgoingMessage): Message {
  const { body, attributes } = pack(outgoing);
  return { Body: body, MessageAttributes: attributes };
}

describe('a message on SQS', () => {
  it('comes back byte by byte, in characters that SQS takes', () => {
    fc.assert(
      fc.property(
        text,
        fc.dictionary(text, text),
        fc.oneof(
          fc.uint8Array(),
          text.map((value) => Buffer.from(value)),
        ),
        (key, headers, bytes) => {
          const outgoing = message({ key, headers: { ...headers }, payload: Buffer.from(bytes) });
          const { body, attributes } = pack(outgoing);
          expect(body).toMatch(ALLOWED);
          expect(attributes['waybill']?.StringValue).toMatch(ALLOWED);
          const incoming = unpack(carried(outgoing));
          expect(incoming.payload.equals(outgoing.payload)).toBe(true);
          expect({ ...incoming.headers }).toEqual({ ...outgoing.headers });
          expect(incoming.key).toBe(key);
        },
      ),
    );
  });

  it('leaves plain text readable', () => {
    expect(pack(message({ payload: Buffer.from('{"name":"ünïcödé 日本語"}') })).body).toBe('{"name":"ünïcödé 日本語"}');
  });

  it('fits into the queue at the size that is promised, whatever its bytes are', () => {
    for (const limit of [256 * 1024, 1024 * 1024]) {
      const headers = { ce_id: '"'.repeat(500), 'x-text': 'ü'.repeat(500) };
      const room = largestPayload(limit) - messageBytes(message({ headers, payload: Buffer.alloc(0) }));
      for (const payload of [Buffer.alloc(room, 'a'), Buffer.alloc(room, 0), Buffer.alloc(room, 0xff)]) {
        expect(pack(message({ headers, payload })).bytes).toBeLessThanOrEqual(limit);
      }
    }
  });

  it('is handed over as it is when somebody else has sent it', () => {
    const foreign: Message = {
      Body: 'hello',
      Attributes: { MessageGroupId: 'group' },
      MessageAttributes: {
        type: { DataType: 'String', StringValue: 'greeting' },
        raw: { DataType: 'Binary', BinaryValue: new Uint8Array(1) },
      },
    };
    expect(unpack(foreign)).toEqual({ key: 'group', headers: { type: 'greeting' }, payload: Buffer.from('hello') });
    for (const value of ['no json', 'null', '{"key":1}', '{"key":"k","headers":null}', '{"key":"k","headers":{"a":1}}', '[]']) {
      const damaged: Message = { Body: 'hello', MessageAttributes: { waybill: { DataType: 'String', StringValue: value } } };
      expect(unpack(damaged)).toMatchObject({ key: null, headers: { waybill: value } });
    }
  });
});
