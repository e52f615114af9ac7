import { claimedOrigin, claimedType } from '../event/event-codec.js';
import type { ParkableEvent } from './parking.js';

/** What a line of the log says of an event. */
export function loggedEvent({ eventId, headers, topic, key, group }: ParkableEvent): Record<string, unknown> {
  return { eventId, type: claimedType(headers), topic, key, group, ...claimedOrigin(headers) };
}
