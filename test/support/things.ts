import { randomUUID } from 'node:crypto';
import { IsInt, IsOptional, IsString, IsUUID } from 'class-validator';
import { DefineEvent } from '../../src/messaging/index.js';
import type { OutgoingMessage } from '../../src/messaging/transport/broker-adapter.js';

/** The event of the messaging tests: the n-th thing that happened to something. */
@DefineEvent({ type: 'conformance.thing.happened', key: 'thingId' })
export class ThingHappened {
  @IsUUID() thingId!: string;
  @IsInt() n!: number;
  @IsOptional() @IsString() text?: string;
}

export const THING = { topic: 'conformance.thing', type: 'conformance.thing.happened' } as const;

export function thing(thingId: string, n: number, text?: string): ThingHappened {
  return Object.assign(new ThingHappened(), { thingId, n, ...(text !== undefined && { text }) });
}

/** The same as a broker carries it. */
export function eventMessage(key: string, n: number): OutgoingMessage {
  const eventId = randomUUID();
  return {
    eventId,
    topic: THING.topic,
    type: THING.type,
    key,
    headers: {
      'content-type': 'application/json',
      ce_specversion: '1.0',
      ce_id: eventId,
      ce_source: 'urn:test',
      ce_type: THING.type,
      ce_subject: key,
      ce_partitionkey: key,
      ce_time: new Date().toISOString(),
    },
    payload: Buffer.from(JSON.stringify(thing(key, n))),
  };
}
