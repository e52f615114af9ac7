import { randomUUIDv7 } from 'node:crypto';
import type { DeadLetterAnnouncement } from './consumer/parking.js';
import { deadLetterTopicOf } from './messaging-topology.js';
import type { MessagingSettings } from './messaging-settings.js';
import type { Outbox } from './outbox/outbox.js';

/** Tells others that there is a dead letter, without its data: that is for the operator's eyes. */
export function announcement(outbox: Outbox, settings: MessagingSettings): DeadLetterAnnouncement {
  return (tx, letter) => {
    const id = randomUUIDv7();
    outbox.add(tx, {
      eventId: id,
      topic: deadLetterTopicOf(letter.topic),
      type: 'waybill.dead_letter.recorded',
      key: letter.key,
      headers: {
        'content-type': 'application/json',
        ce_specversion: '1.0',
        ce_id: id,
        ce_source: settings.source,
        ce_type: 'waybill.dead_letter.recorded',
        ce_subject: letter.id,
        ce_time: new Date().toISOString(),
        ce_dataschema: 'urn:waybill:waybill.dead_letter.recorded:v1',
        ce_partitionkey: letter.key,
        ce_correlationid: letter.eventId,
        ce_causationid: letter.eventId,
      },
      payload: JSON.stringify(letter),
    });
  };
}
