function _ts_decorate(decorators, target, key, desc) {
  var c = arguments.length,
    r = c < 3 ? target : desc === null ? (desc = Object.getOwnPropertyDescriptor(target, key)) : desc,
    d;
  if (typeof Reflect === 'object' && typeof Reflect.decorate === 'function') {
    r = Reflect.decorate(decorators, target, key, desc);
  } else {
    for (var i = decorators.length - 1; i >= 0; i--) {
      if ((d = decorators[i])) {
        r = (c < 3 ? d(r) : c > 3 ? d(target, key, r) : d(target, key)) || r;
      }
    }
  }
  return (c > 3 && r && Object.defineProperty(target, key, r), r);
}
function _ts_metadata(metadataKey, metadataValue) {
  if (typeof Reflect === 'object' && typeof Reflect.metadata === 'function') {
    return Reflect.metadata(metadataKey, metadataValue);
  }
}
import { Injectable } from '@nestjs/common';
import { Database } from '../../database/database.js';
import { Notifications } from '../../database/notifications.js';
import { encode, envelopeOf } from '../event/event-codec.js';
import { definitionOf } from '../event/event-definition.js';
import { EventTooLargeError } from '../event/event.errors.js';
import { keyHash } from '../event/key-hash.js';
import { MessagingSettings } from '../messaging-settings.js';
import { messageBytes } from '../transport/broker-adapter.js';
import { BrokerConnection } from '../transport/broker-connection.js';
/** Subject of the hint that the outbox has rows. */ export const OUTBOX_SUBJECT = 'outbox';
/** First argument of the advisory locks, so that they are nobody else's. */ const LOCK_CLASS = 0x3a41;
const LOCK_BUCKETS = 1024;
export class Outbox {
  database;
  notifications;
  settings;
  broker;
  buffers = new WeakMap();
  constructor(database, notifications, settings, broker) {
    this.database = database;
    this.notifications = notifications;
    this.settings = settings;
    this.broker = broker;
  }
  /**
   * Takes an instance of a @DefineEvent class into the transaction. Events of one key reach each group in
   * the order in which their transactions commit, and within a transaction in the order of the calls.
   * @throws InvalidEventError naming each wrong field; EventTooLargeError when no broker would take it
   */ emit(tx, event) {
    const definition = definitionOf(event.constructor);
    const envelope = envelopeOf(event, this.settings.source);
    this.add(tx, {
      eventId: envelope.id,
      topic: definition.topic,
      type: envelope.type,
      key: envelope.partitionkey,
      ...encode(envelope),
    });
  }
  /** Takes an encoded event into the transaction. */ add(tx, record) {
    const size = messageBytes(record);
    if (size > this.broker.maxMessageBytes) {
      throw new EventTooLargeError(
        `${record.type} for key ${record.key} has ${size} bytes; ${this.settings.brokerName} takes ${this.broker.maxMessageBytes}. Put the bulk elsewhere and a reference into the event.`,
      );
    }
    let buffer = this.buffers.get(tx);
    if (!buffer) {
      const records = (buffer = []);
      this.buffers.set(tx, records);
      this.database.beforeCommit(tx, () => this.flush(tx, records));
      this.database.afterCommit(tx, () => this.notifications.notify(OUTBOX_SUBJECT));
    }
    buffer.push(record);
  }
  /**
   * One statement, the last before COMMIT. The ids come out of the sequence only after the keys' advisory locks
   * are held, and these are held until the commit: so for each key the order of ids is the order of commits,
   * whether or not the business transaction had locked a row of its aggregate. The locks are the last that the
   * transaction waits for, and are taken in ascending order: they cannot be part of a deadlock.
   */ async flush(tx, records) {
    const buckets = [...new Set(records.map(({ key }) => keyHash(key) % LOCK_BUCKETS))].sort((a, b) => a - b);
    await tx.$executeRaw`
      WITH locked AS MATERIALIZED (
        SELECT count(*) FROM (SELECT pg_advisory_xact_lock(${LOCK_CLASS}::int, bucket) FROM unnest(${buckets}::int[]) AS bucket) AS locks
      )
      INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload)
      SELECT e.lane, e.event_id, e.topic, e.type, e.key, e.headers, e.payload
      FROM locked, unnest(
        ${records.map(({ key }) => keyHash(key) % this.settings.lanes)}::smallint[],
        ${records.map(({ eventId }) => eventId)}::uuid[],
        ${records.map(({ topic }) => topic)}::text[],
        ${records.map(({ type }) => type)}::text[],
        ${records.map(({ key }) => key)}::text[],
        ${records.map(({ headers }) => JSON.stringify(headers))}::text[],
        ${records.map(({ payload }) => payload.toString('utf8'))}::text[]
      ) WITH ORDINALITY AS e(lane, event_id, topic, type, key, headers, payload, position)
      ORDER BY e.position`;
  }
}
Outbox = _ts_decorate(
  [
    Injectable(),
    _ts_metadata('design:type', Function),
    _ts_metadata('design:paramtypes', [
      typeof Database === 'undefined' ? Object : Database,
      typeof Notifications === 'undefined' ? Object : Notifications,
      typeof MessagingSettings === 'undefined' ? Object : MessagingSettings,
      typeof BrokerConnection === 'undefined' ? Object : BrokerConnection,
    ]),
  ],
  Outbox,
);

//# sourceMappingURL=outbox.js.map
