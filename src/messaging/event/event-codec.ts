import { plainToInstance } from 'class-transformer';
import { validateSync, type ValidationError } from 'class-validator';
import { randomUUIDv7 } from 'node:crypto';
import { currentCausation, traceIdOf, type Causation } from './causation.js';
import { definitionOf, eventClassOf, type EventClass } from './event-definition.js';
import type { EventEnvelope, EventText, WireEvent } from './event-envelope.js';
import { InvalidEventError, MalformedEventError, UnsupportedVersionError } from './event.errors.js';
import { rememberRules } from './validation-rules.js';

// For requests too: there is one storage of rules in a process.
rememberRules();

const PREFIX = 'ce_';
const CONTENT_TYPE = 'application/json';
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;
const VISIBLE_ASCII = /^[\x21-\x7e]{1,255}$/;
/** The header of each attribute: what is in the envelope and not here does not compile. */
const HEADERS: Readonly<Record<Exclude<keyof EventEnvelope, 'data'>, string>> = {
  specversion: `${PREFIX}specversion`,
  id: `${PREFIX}id`,
  source: `${PREFIX}source`,
  type: `${PREFIX}type`,
  subject: `${PREFIX}subject`,
  time: `${PREFIX}time`,
  dataschema: `${PREFIX}dataschema`,
  partitionkey: `${PREFIX}partitionkey`,
  correlationid: `${PREFIX}correlationid`,
  causationid: `${PREFIX}causationid`,
  traceparent: `${PREFIX}traceparent`,
};
const ATTRIBUTES = Object.entries(HEADERS) as [keyof typeof HEADERS, string][];
const REQUIRED = ['id', 'source', 'type', 'partitionkey'] as const;
const UNSTORABLE = /\0|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
/** A member may also be written with escapes. */
const MAY_REACH_PROTOTYPE = /__proto__|\\u/;
const UTF_8 = new TextDecoder('utf-8', { fatal: true });
export const MAX_KEY_LENGTH = 255;

/**
 * An event's envelope, made and checked now.
 * @throws InvalidEventError naming each field that breaks the class's rules
 */
export function envelopeOf(event: object, source: string, causation: Causation | undefined = currentCausation()): EventEnvelope {
  const definition = definitionOf(event.constructor as EventClass);
  const problems = problemsOf(event);
  const key = (event as Record<string, unknown>)[definition.key];
  if (typeof key !== 'string' || key === '' || key.length > MAX_KEY_LENGTH || UNSTORABLE.test(key)) {
    problems.push(`${definition.key} must be a string of 1 to ${MAX_KEY_LENGTH} characters, because order is kept by it`);
  }
  if (problems.length > 0) throw new InvalidEventError(definition.type, problems);
  const id = randomUUIDv7();
  return {
    specversion: '1.0',
    id,
    source,
    type: definition.type,
    subject: key as string,
    time: new Date().toISOString(),
    dataschema: schemaOf(definition.type, definition.version),
    partitionkey: key as string,
    correlationid: causation?.correlationid ?? id,
    ...(causation?.causationid !== undefined && { causationid: causation.causationid }),
    ...(causation?.traceparent !== undefined && { traceparent: causation.traceparent }),
    data: event,
  };
}

/** @throws InvalidEventError when the data's text holds what a database or broker cannot carry */
export function encode(envelope: EventEnvelope): EventText {
  const headers: Record<string, string> = { 'content-type': CONTENT_TYPE };
  for (const [name, header] of ATTRIBUTES) {
    const value = envelope[name];
    if (value !== undefined) headers[header] = value;
  }
  const { data } = envelope;
  let payload = JSON.stringify(data);
  // What must not be there is in JSON as an escape; only where there is one is it worth a look at each text.
  if (payload.includes('\\u')) payload = JSON.stringify(data, refuseUnstorable(envelope.type));
  return { headers, payload };
}

function refuseUnstorable(type: string): (member: string, value: unknown) => unknown {
  return (member, value) => {
    if (typeof value === 'string' && UNSTORABLE.test(value)) {
      throw new InvalidEventError(type, [`${member || 'data'} must not hold U+0000 or half of a surrogate pair`]);
    }
    return value;
  };
}

/**
 * The envelope of what came over the wire. Its data is an instance of the type's class, checked, where
 * this process knows the type, and plain JSON where it does not.
 * @throws MalformedEventError no event at all; UnsupportedVersionError a newer major version; InvalidEventError the data breaks the class's rules
 */
export function decode({ headers, payload }: WireEvent): EventEnvelope {
  const attribute = (name: string): string | undefined => headers[PREFIX + name];
  for (const name of REQUIRED) {
    if (!attribute(name)) throw new MalformedEventError(`header ${PREFIX}${name} is missing`);
  }
  const id = attribute('id') as string;
  const type = attribute('type') as string;
  const key = attribute('partitionkey') as string;
  if (!UUID.test(id)) throw new MalformedEventError(`header ${PREFIX}id must be a UUID`);
  if (!VISIBLE_ASCII.test(type)) throw new MalformedEventError(`header ${PREFIX}type must be 1 to 255 printable characters`);
  if (key.length > MAX_KEY_LENGTH || UNSTORABLE.test(key))
    throw new MalformedEventError(`header ${PREFIX}partitionkey must be at most ${MAX_KEY_LENGTH} characters`);
  const time = attribute('time');
  const correlationid = attribute('correlationid');
  const causationid = attribute('causationid');
  const traceparent = attribute('traceparent');
  return {
    specversion: '1.0',
    id: id.toLowerCase(),
    source: attribute('source') as string,
    type,
    subject: attribute('subject') ?? key,
    time: time !== undefined && !Number.isNaN(Date.parse(time)) ? time : new Date(0).toISOString(),
    dataschema: attribute('dataschema') ?? schemaOf(type, 1),
    partitionkey: key,
    correlationid: correlationid ?? id.toLowerCase(),
    ...(causationid !== undefined && { causationid }),
    ...(traceparent !== undefined && { traceparent }),
    data: decodeData(type, attribute('dataschema'), parse(payload)),
  };
}

/** @throws UnsupportedVersionError, InvalidEventError */
export function decodeData(type: string, dataschema: string | undefined, data: unknown): unknown {
  const eventClass = eventClassOf(type);
  if (!eventClass) return data;
  const { version } = definitionOf(eventClass);
  const major = Number(/:v(\d+)$/.exec(dataschema ?? '')?.[1] ?? 1);
  if (major > version)
    throw new UnsupportedVersionError(
      `${type} came in version ${major}; this process knows ${version}. Deploy the newer version, then replay.`,
    );
  if (typeof data !== 'object' || data === null || Array.isArray(data)) throw new InvalidEventError(type, ['data must be an object']);
  const instance = plainToInstance(eventClass as new () => object, data);
  const problems = problemsOf(instance);
  if (problems.length > 0) throw new InvalidEventError(type, problems);
  return instance;
}

/** The headers of an event whose data an operator has replaced: a new event, caused by the old one. */
export function editedHeaders(headers: Readonly<Record<string, string>>): { eventId: string; headers: Record<string, string> } {
  const eventId = randomUUIDv7();
  const former = headers[`${PREFIX}id`];
  return { eventId, headers: { ...headers, [`${PREFIX}id`]: eventId, ...(former !== undefined && { [`${PREFIX}causationid`]: former }) } };
}

/** The type a message claims to be of; `unknown` when it claims none. */
export function claimedType(headers: Readonly<Record<string, string>>): string {
  const type = headers[`${PREFIX}type`];
  return type !== undefined && VISIBLE_ASCII.test(type) ? type : 'unknown';
}

/** The id a message claims, when it is a UUID. */
export function claimedId(headers: Readonly<Record<string, string>>): string | undefined {
  const id = headers[`${PREFIX}id`];
  return id !== undefined && UUID.test(id) ? id.toLowerCase() : undefined;
}

/** The key a message claims. */
export function claimedKey(headers: Readonly<Record<string, string>>): string | undefined {
  const key = headers[`${PREFIX}partitionkey`];
  return key !== undefined && key !== '' && key.length <= MAX_KEY_LENGTH && !UNSTORABLE.test(key) ? key : undefined;
}

/** The request that a message claims to go back to, as far as it is well-formed. */
export function claimedOrigin(headers: Readonly<Record<string, string>>): { readonly correlationId?: string; readonly traceId?: string } {
  const correlationId = headers[`${PREFIX}correlationid`];
  const traceId = traceIdOf(headers[`${PREFIX}traceparent`]);
  return {
    ...(correlationId !== undefined && VISIBLE_ASCII.test(correlationId) && { correlationId }),
    ...(traceId !== undefined && { traceId }),
  };
}

function parse(payload: Buffer): unknown {
  let text: string;
  try {
    text = UTF_8.decode(payload);
  } catch (cause) {
    throw new MalformedEventError('the body is not UTF-8', { cause });
  }
  try {
    // Members that would reach Object.prototype through a careless merge are no data of ours.
    return MAY_REACH_PROTOTYPE.test(text) ? JSON.parse(text, refusePrototype) : JSON.parse(text);
  } catch (cause) {
    if (cause instanceof MalformedEventError) throw cause;
    throw new MalformedEventError('the body is not JSON'); // the parser's own message quotes the body
  }
}

function refusePrototype(member: string, value: unknown): unknown {
  if (member === '__proto__') throw new MalformedEventError('the body has a member __proto__');
  return value;
}

/** Unknown members pass: an older consumer must live with a newer event's additions. */
function problemsOf(event: object): string[] {
  return validateSync(event, { forbidUnknownValues: true }).flatMap((error) => flatten(error, ''));
}

function flatten(error: ValidationError, path: string): string[] {
  const here = path === '' ? error.property : `${path}.${error.property}`;
  const own = Object.values(error.constraints ?? {}).map((message) => (path === '' ? message : message.replace(error.property, here)));
  return [...own, ...(error.children ?? []).flatMap((child) => flatten(child, here))];
}

function schemaOf(type: string, version: number): string {
  return `urn:waybill:${type}:v${version}`;
}
