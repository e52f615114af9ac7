import { Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../../database/database.js';
import { Notifications } from '../../database/notifications.js';
import { encode, envelopeOf } from '../event/event-codec.js';
import { definitionOf, type EventClass } from '../event/event-definition.js';
import type { EventText } from '../event/event-envelope.js';
import { EventTooLargeError } from '../event/event.errors.js';
import { keyHash } from '../event/key-hash.js';
import { MessagingSettings } from '../messaging-settings.js';
import { messageBytes } from '../transport/broker-adapter.js';
import { BrokerConnection } from '../transport/broker-connection.js';

/** Subject of the hint that the outbox has rows. */
export const OUTBOX_SUBJECT = 'outbox';

/** First argument of the advisory locks, so that they are nobody else's. */
const LOCK_CLASS = 0x3a41;
const LOCK_BUCKETS = 1024;

const FLUSH = `
  WITH locked AS MATERIALIZED (
    SELECT count(*) FROM (SELECT pg_advisory_xact_lock($1::int, bucket) FROM unnest($2::int[]) AS bucket) AS locks
  )
  INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload)
  SELECT e.lane, e.event_id, e.topic, e.type, e.key, e.headers, e.payload
  FROM locked, unnest($3::smallint[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
    WITH ORDINALITY AS e(lane, event_id, topic, type, key, headers, payload, position)
  ORDER BY e.position`;

/** The same for one event, which most transactions emit: it takes the server half as long. The subquery is over before the id is taken. */
const FLUSH_ONE = `
  INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload)
  SELECT $3::smallint, $4::uuid, $5::text, $6::text, $7::text, $8::text, $9::text
  FROM (SELECT pg_advisory_xact_lock($1::int, $2::int)) AS locked`;

export interface OutboxRecord extends EventText {
  readonly eventId: string;
  readonly topic: string;
  readonly type: string;
  readonly key: string;
}

interface Emitted {
  /** In the transaction: parts of one that are run side by side emit out of their order. */
  readonly place: number;
  readonly record: OutboxRecord;
  readonly headers: string;
}

/**
 * Where a module says what has happened: the event is published if and only if the transaction commits.
 */
@Injectable()
export class Outbox {
  private readonly buffers = new WeakMap<Transaction, Emitted[]>();

  constructor(
    private readonly database: Database,
    private readonly notifications: Notifications,
    private readonly settings: MessagingSettings,
    private readonly broker: BrokerConnection,
  ) {}

  /**
   * Takes an instance of a @DefineEvent class into the transaction. Events of one key reach each group in
   * the order in which their transactions commit, and within a transaction in the order of the calls.
   * @throws InvalidEventError naming each wrong field; EventTooLargeError when no broker would take it
   */
  emit(tx: Transaction, event: object): void {
    const definition = definitionOf(event.constructor as EventClass);
    const envelope = envelopeOf(event, this.settings.source);
    this.add(tx, { eventId: envelope.id, topic: definition.topic, type: envelope.type, key: envelope.partitionkey, ...encode(envelope) });
  }

  /** Takes an encoded event into the transaction. */
  add(tx: Transaction, record: OutboxRecord): void {
    const headers = JSON.stringify(record.headers);
    const most = this.broker.maxMessageBytes;
    // As JSON the headers are longer than they are; only what comes near the limit has to be measured.
    if (Buffer.byteLength(headers) + Buffer.byteLength(record.payload) > most && messageBytes(record) > most) {
      throw new EventTooLargeError(
        `${record.type} for key ${record.key} has ${messageBytes(record)} bytes; ${this.settings.brokerName} takes ${most}. Put the bulk elsewhere and a reference into the event.`,
      );
    }
    const { whole, place } = this.database.placeOf(tx);
    let buffer = this.buffers.get(whole);
    if (!buffer) {
      const emitted: Emitted[] = (buffer = []);
      this.buffers.set(whole, emitted);
      this.database.beforeCommit(whole, () => this.flush(whole, emitted));
      this.database.afterCommit(whole, () => this.notifications.notify(OUTBOX_SUBJECT));
    }
    buffer.push({ place, record, headers });
  }

  /**
   * One statement, which travels with the COMMIT. The ids come out of the sequence only after the keys' advisory locks
   * are held, and these are held until the commit: so for each key the order of ids is the order of commits,
   * whether or not the business transaction had locked a row of its aggregate. The locks are the last that the
   * transaction waits for, and are taken in ascending order: they cannot be part of a deadlock.
   */
  private flush(tx: Transaction, emitted: Emitted[]): Promise<void> {
    this.buffers.delete(tx); // a hook that emits after this one has a flush of its own
    emitted.sort((one, other) => one.place - other.place);
    const rows = emitted.map((event) => this.rowOf(event));
    const [only] = rows;
    if (only && rows.length === 1) {
      const { hash, values } = only;
      this.database.atCommit(tx, FLUSH_ONE, [LOCK_CLASS, hash % LOCK_BUCKETS, ...values]);
    } else {
      const buckets = [...new Set(rows.map(({ hash }) => hash % LOCK_BUCKETS))].sort((a, b) => a - b);
      const columns = [0, 1, 2, 3, 4, 5, 6].map((column) => rows.map(({ values }) => values[column]));
      this.database.atCommit(tx, FLUSH, [LOCK_CLASS, buckets, ...columns]);
    }
    return Promise.resolve();
  }

  private rowOf({ record: { eventId, topic, type, key, payload }, headers }: Emitted): { hash: number; values: (string | number)[] } {
    const hash = keyHash(key);
    return { hash, values: [hash % this.settings.lanes, eventId, topic, type, key, headers, payload] };
  }
}
