import type { ConsumeMessage, Options } from 'amqplib';
import { createHash } from 'node:crypto';
import type { IncomingMessage, OutgoingMessage } from '../broker-adapter.js';

const KEY_HEADER = 'x-waybill-key';
const DELIVERY_COUNT = 'x-delivery-count';
/** What the broker adds to a message that it delivers again or has dead-lettered. */
const BROKER_HEADER = /^x-(delivery-count|acquired-count|death|(first|last)-death-(queue|reason|exchange))$/;
/** The broker reads these two as more routing keys, and closes the channel when they are strings. */
const ROUTING_HEADER = /^B?CC$/;

/** Why a message cannot be put into AMQP, if it cannot. */
export function unencodable({ headers }: OutgoingMessage): string | undefined {
  const name = Object.keys(headers).find((header) => ROUTING_HEADER.test(header));
  return name === undefined ? undefined : `RabbitMQ keeps the header "${name}" for itself`;
}

/** The AMQP properties of a message: persistent, named by its event's id, its key in a header of ours. */
export function propertiesOf(message: OutgoingMessage, mandatory: boolean): Options.Publish {
  return {
    mandatory,
    persistent: true,
    contentType: 'application/json',
    messageId: message.eventId,
    type: message.type,
    headers: { ...message.headers, [KEY_HEADER]: message.key },
  };
}

/** A delivery as the port knows it; the broker's own headers are left out. */
export function incomingOf(
  message: ConsumeMessage,
  topic: string,
  signal: AbortSignal,
  undeliverable: string | undefined,
): IncomingMessage {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(rawHeaders(message))) {
    if (name !== KEY_HEADER && !BROKER_HEADER.test(name)) headers[name] = textOf(value);
  }
  const key = rawHeaders(message)[KEY_HEADER];
  return {
    deliveryId: `${topic}/${idOf(message)}`,
    topic,
    key: typeof key === 'string' ? key : null,
    headers,
    payload: message.content,
    signal,
    ...(undeliverable !== undefined && { undeliverable }),
  };
}

/** How often the broker has delivered a message before and had it back unsettled. */
export function formerDeliveries(message: ConsumeMessage): number {
  const count = rawHeaders(message)[DELIVERY_COUNT];
  return typeof count === 'number' ? count : 0;
}

function rawHeaders(message: ConsumeMessage): Record<string, unknown> {
  return message.properties.headers ?? {};
}

/** Others may publish here too, with headers of other kinds. */
function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  return Buffer.isBuffer(value) ? value.toString('utf8') : JSON.stringify(value);
}

/** What the publisher named it; a message without a name is known by what it holds. */
function idOf(message: ConsumeMessage): string {
  const messageId: unknown = message.properties.messageId;
  if (typeof messageId === 'string' && messageId !== '') return messageId;
  return createHash('sha256').update(message.fields.routingKey).update('\0').update(message.content).digest('hex');
}
