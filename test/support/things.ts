import { IsInt, IsOptional, IsString, IsUUID } from 'class-validator';
import { DefineEvent } from '../../src/messaging/index.js';

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
