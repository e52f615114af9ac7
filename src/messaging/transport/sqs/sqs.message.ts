import type { Message, MessageAttributeValue } from '@aws-sdk/client-sqs';
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage, OutgoingMessage } from '../broker-adapter.js';

/** The one attribute that holds all headers: SQS allows ten attributes and no empty value. */
const ATTRIBUTE = 'waybill';
const ATTRIBUTE_TYPE = 'String';

/** Kept free for the attribute's own text: names, quotes, escapes. */
const RESERVED_BYTES = 4 * 1024;

/** A message as SQS carries it. */
export interface PackedMessage {
  readonly body: string;
  readonly attributes: Record<string, MessageAttributeValue>;
  /** What SQS counts. */
  readonly bytes: number;
}

/** What is carried beside the body. */
interface Carried {
  readonly key: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Absent: the body is the payload's text. SQS refuses an empty body. */
  readonly encoding?: 'base64' | 'empty';
}

/**
 * The largest payload plus headers that surely fits into a queue's limit, as Base64 too: a quarter of the room is
 * for that, because whether an event is text that SQS can carry must not decide whether it can be published.
 */
export function largestPayload(queueLimit: number): number {
  return Math.floor(((queueLimit - RESERVED_BYTES) * 3) / 4);
}

export function pack({ key, headers, payload }: OutgoingMessage): PackedMessage {
  const encoding = encodingOf(payload);
  const body = encoding === undefined ? payload.toString('utf8') : encoding === 'empty' ? '-' : payload.toString('base64');
  const value = escaped(JSON.stringify({ key, headers, ...(encoding && { encoding }) } satisfies Carried));
  return {
    body,
    attributes: { [ATTRIBUTE]: { DataType: ATTRIBUTE_TYPE, StringValue: value } },
    bytes: Buffer.byteLength(body) + Buffer.byteLength(value) + ATTRIBUTE.length + ATTRIBUTE_TYPE.length,
  };
}

/** What came, byte by byte as it was published; of a message that somebody else has sent, what there is. */
export function unpack(message: Message): Pick<IncomingMessage, 'key' | 'headers' | 'payload'> {
  const { Body: body = '', MessageAttributes: attributes = {}, Attributes: system = {} } = message;
  const carried = carriedBy(attributes[ATTRIBUTE]?.StringValue);
  if (!carried) return { key: system.MessageGroupId ?? null, headers: foreignHeaders(attributes), payload: Buffer.from(body, 'utf8') };
  const { key, headers, encoding } = carried;
  const payload = encoding === 'empty' ? Buffer.alloc(0) : Buffer.from(body, encoding ?? 'utf8');
  return { key, headers, payload };
}

function encodingOf(payload: Buffer): Carried['encoding'] {
  if (payload.length === 0) return 'empty';
  return isUtf8(payload) && isPlain(payload.toString('utf8')) ? undefined : 'base64';
}

/** Only characters that SQS is documented to take, and of these not those beyond U+FFFF, which some servers refuse. */
function isPlain(text: string): boolean {
  return !/[^\t\n\r\x20-\ud7ff\ue000-\ufffd]/.test(text);
}

/** JSON that is plain text too; its control characters are escaped already. */
function escaped(json: string): string {
  return json.replaceAll(/[\ud800-\udfff\ufffe\uffff]/g, (character) => `\\u${character.charCodeAt(0).toString(16)}`);
}

function carriedBy(value: string | undefined): Carried | undefined {
  if (value === undefined) return undefined;
  try {
    const carried: unknown = JSON.parse(value);
    return isCarried(carried) ? carried : undefined;
  } catch {
    return undefined; // somebody else's attribute: the message is handed over as it is, and becomes a dead letter
  }
}

function isCarried(value: unknown): value is Carried {
  const { key, headers, encoding } = (value ?? {}) as Partial<Record<keyof Carried, unknown>>;
  return (
    typeof key === 'string' &&
    typeof headers === 'object' &&
    headers !== null &&
    Object.values(headers).every((header) => typeof header === 'string') &&
    (encoding === undefined || encoding === 'base64' || encoding === 'empty')
  );
}

function foreignHeaders(attributes: Record<string, MessageAttributeValue>): Record<string, string> {
  const texts = Object.entries(attributes).map(([name, { StringValue: value }]) => [name, value] as const);
  return Object.fromEntries(texts.filter((entry): entry is [string, string] => entry[1] !== undefined));
}
