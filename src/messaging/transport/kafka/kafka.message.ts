import type { IHeaders, KafkaMessage, Message } from 'kafkajs';
import { messageBytes, type IncomingMessage, type OutgoingMessage } from '../broker-adapter.js';

/** Length, attributes, time, offset, and the lengths of key, value and header list of one record, at their largest. */
const RECORD_OVERHEAD = 32;
const HEADER_OVERHEAD = 8;

/** A message as kafkajs sends it: its key decides the partition. */
export function recordOf({ key, headers, payload }: OutgoingMessage): Message {
  return { key, value: payload, headers };
}

/** What a record takes in a request, at most. */
export function recordBytesOf(message: OutgoingMessage, contentBytes = messageBytes(message)): number {
  return contentBytes + Buffer.byteLength(message.key) + RECORD_OVERHEAD + HEADER_OVERHEAD * Object.keys(message.headers).length;
}

/** A delivery of `topic`, in our name for it. */
export function deliveryOf(topic: string, partition: number, message: KafkaMessage, signal: AbortSignal): IncomingMessage {
  return {
    deliveryId: `${topic}/${partition}/${message.offset}`,
    topic,
    key: message.key === null ? null : message.key.toString('utf8'),
    headers: headersOf(message.headers),
    // Copied, because kafkajs' buffer is a window on the whole fetch, which one slow delivery would keep in memory.
    payload: message.value === null ? Buffer.alloc(0) : Buffer.from(message.value),
    signal,
  };
}

/** A header that comes twice has its last value; one without a value is left out. */
function headersOf(headers: IHeaders = {}): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const name of Object.keys(headers)) {
    const values = headers[name];
    const value = Array.isArray(values) ? values.at(-1) : values;
    // The types do not know that a header's value may be null.
    if (value === undefined || value === null) continue;
    // Defined, not assigned: a header may have any name, `__proto__` too.
    if (name in texts) Object.defineProperty(texts, name, { value: text(value), enumerable: true, writable: true, configurable: true });
    else texts[name] = text(value);
  }
  return texts;
}

function text(value: Buffer | string): string {
  return typeof value === 'string' ? value : value.toString('utf8');
}
