import { IsInt, IsString } from 'class-validator';
import { DefineEvent } from '../../src/messaging/index.js';

class SimulatedData {
  @IsString() key!: string;
  @IsInt() n!: number;
  @IsString() plan!: string;
}

@DefineEvent({ type: 'simulated.thing.happened', key: 'key' })
export class ThingHappened extends SimulatedData {}

@DefineEvent({ type: 'simulated.thing.parked', key: 'key', onPublishFailure: 'park' })
export class ThingParked extends SimulatedData {}

@DefineEvent({ type: 'simulated.thing.skipped', key: 'key', onPublishFailure: 'skip' })
export class ThingSkipped extends SimulatedData {}

@DefineEvent({ type: 'simulated.reply.sent', key: 'key' })
export class ReplySent extends SimulatedData {}

export const THINGS = 'simulated.thing';
export const REPLIES = 'simulated.reply';
