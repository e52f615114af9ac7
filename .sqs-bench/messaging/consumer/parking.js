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
function _ts_param(paramIndex, decorator) {
  return function (target, key) {
    decorator(target, key, paramIndex);
  };
}
import { Inject, Injectable } from '@nestjs/common';
import { failpoint } from '../../config/failpoint.js';
import { Database } from '../../database/database.js';
import { claimedType } from '../event/event-codec.js';
import { Prisma } from '../../database/generated/client.js';
import { randomUUIDv7 } from 'node:crypto';
/** Injection token of what announces a dead letter to others, in the transaction that records it. */ export const DEAD_LETTER_ANNOUNCEMENT =
  Symbol('DEAD_LETTER_ANNOUNCEMENT');
const BEHIND = 'behind an earlier event of its key';
export class Parking {
  database;
  announce;
  constructor(database, announce) {
    this.database = database;
    this.announce = announce;
  }
  /** Parks an event that failed for the first time, or leaves it when another instance has handled or parked it meanwhile. */ async park(
    event,
    attempts,
    delayMs,
    reason,
  ) {
    await this.database.transaction(async (tx) => {
      await this.holdKey(tx, event, delayMs);
      if (!(await this.isDone(tx, event))) await this.append(tx, event, attempts, reason);
      await this.settle(tx, event, delayMs);
    });
    await failpoint('park.afterWrite');
  }
  /** Parks an event behind its key; false when the key is free again and the event is to be handled now. */ async parkBehind(event) {
    const parked = await this.database.transaction(async (tx) => {
      if (!(await this.lockKey(tx, event))) return false;
      if (!(await this.isDone(tx, event))) await this.append(tx, event, 0, BEHIND);
      return true;
    });
    if (parked) await failpoint('park.afterWrite');
    return parked;
  }
  /** Records an event that is not parked as a dead letter; once, however often it is called. */ async deadLetter(
    event,
    attempts,
    reason,
    error,
  ) {
    await this.database.transaction(async (tx) => {
      await this.holdKey(tx, event, null);
      if (!(await this.isDone(tx, event))) {
        const [next] = await tx.$queryRaw`SELECT nextval(pg_get_serial_sequence('parked_event', 'seq')) AS seq`;
        await this.record(tx, event, next.seq, attempts, reason, error);
      }
      await this.settle(tx, event, null);
    });
    await failpoint('deadLetter.afterWrite');
  }
  /** Leases keys whose first event is due, to this call alone until the lease runs out. */ async claim(groups, limit, leaseMs) {
    if (groups.length === 0) return [];
    return this.database.prisma.$queryRaw`
      UPDATE parked_key SET leased_until = now() + ${leaseMs} * interval '1 ms', epoch = epoch + 1
      WHERE (group_name, topic, key) IN (
        SELECT group_name, topic, key FROM parked_key
        WHERE next_attempt_at <= now() AND (leased_until IS NULL OR leased_until < now()) AND group_name = ANY(${[...groups]}::text[])
        ORDER BY next_attempt_at LIMIT ${limit} FOR UPDATE SKIP LOCKED)
      RETURNING group_name AS "group", topic, key, epoch`;
  }
  /** Extends leases that this instance still has. */ async renew(keys, leaseMs) {
    await this.database.prisma.$executeRaw`
      UPDATE parked_key SET leased_until = now() + ${leaseMs} * interval '1 ms'
      FROM unnest(${keys.map(({ group }) => group)}::text[], ${keys.map(({ topic }) => topic)}::text[], ${keys.map(({ key }) => key)}::text[], ${keys.map(({ epoch }) => epoch)}::bigint[])
        AS mine(group_name, topic, key, epoch)
      WHERE parked_key.group_name = mine.group_name AND parked_key.topic = mine.topic AND parked_key.key = mine.key AND parked_key.epoch = mine.epoch`;
  }
  /** The first event of a leased key; undefined when there is none. */ async head(key) {
    const rows = await this.database.prisma.$queryRaw`SELECT seq, event_id, headers, payload, attempts, dead_letter_id FROM parked_event
      WHERE group_name = ${key.group} AND topic = ${key.topic} AND key = ${key.key} ORDER BY seq LIMIT 1`;
    const row = rows[0];
    return (
      row && {
        ...key,
        seq: row.seq,
        eventId: row.event_id,
        headers: JSON.parse(row.headers),
        payload: Buffer.from(row.payload),
        attempts: row.attempts,
        deadLetterId: row.dead_letter_id,
      }
    );
  }
  /** Gives a lease back; with a delay, the first event is due after it. */ async release(key) {
    await this.database.prisma.$executeRaw`
      UPDATE parked_key SET leased_until = NULL
      WHERE group_name = ${key.group} AND topic = ${key.topic} AND key = ${key.key} AND epoch = ${key.epoch}`;
  }
  /** The first event was handled: it goes, and the next one is due at once. False when the lease was lost. */ async succeeded(head) {
    return this.fenced(head, async (tx) => {
      await tx.$executeRaw`DELETE FROM parked_event WHERE seq = ${head.seq}`;
      if (head.deadLetterId) {
        // The original stays remembered too, in case the broker delivers it once more.
        await tx.$executeRaw`
          WITH letter AS (UPDATE dead_letter SET state = 'replayed', replays = replays + 1 WHERE id = ${head.deadLetterId}::uuid RETURNING group_name, event_id)
          INSERT INTO inbox (group_name, event_id) SELECT group_name, event_id FROM letter ON CONFLICT DO NOTHING`;
      }
      await this.settle(tx, head, 0);
    });
  }
  /** The first event failed again: it is due after the delay. */ async failed(head, attempts, delayMs, reason) {
    return this.fenced(head, async (tx) => {
      await tx.$executeRaw`UPDATE parked_event SET attempts = ${attempts}, reason = ${reason} WHERE seq = ${head.seq}`;
      await this.settle(tx, head, delayMs);
    });
  }
  /** The first event is given up: it becomes a dead letter, or the open one again that it was, and goes on holding its key. */ async exhausted(
    head,
    attempts,
    reason,
    error,
  ) {
    const done = await this.fenced(head, async (tx) => {
      await tx.$executeRaw`DELETE FROM parked_event WHERE seq = ${head.seq}`;
      if (head.deadLetterId) {
        const letters = await tx.$queryRaw`
          UPDATE dead_letter SET state = 'open', replays = replays + 1, attempts = ${attempts}, reason = ${reason}, error = ${error}, failed_at = now()
          WHERE id = ${head.deadLetterId}::uuid RETURNING type, event_id AS "eventId"`;
        for (const { type, eventId } of letters)
          this.announce(tx, {
            id: head.deadLetterId,
            group: head.group,
            topic: head.topic,
            type,
            key: head.key,
            eventId,
            reason,
            attempts,
          });
      } else await this.record(tx, head, head.seq, attempts, reason, error);
      await this.settle(tx, head, null);
    });
    await failpoint('deadLetter.afterWrite');
    return done;
  }
  /**
   * Decides, with the key locked, what it waits for now: nothing (the row goes), a dead letter before its first
   * event (no next attempt), or its first event, due after the delay. The lease ends.
   */ async settle(tx, key, delayMs) {
    await tx.$executeRaw`
      WITH head AS (SELECT min(seq) AS seq FROM parked_event WHERE group_name = ${key.group} AND topic = ${key.topic} AND key = ${key.key}),
      letter AS (SELECT min(seq) AS seq FROM dead_letter WHERE group_name = ${key.group} AND topic = ${key.topic} AND key = ${key.key} AND state = 'open'),
      gone AS (
        DELETE FROM parked_key WHERE group_name = ${key.group} AND topic = ${key.topic} AND key = ${key.key}
          AND (SELECT seq FROM head) IS NULL AND (SELECT seq FROM letter) IS NULL RETURNING 1)
      UPDATE parked_key SET leased_until = NULL, epoch = epoch + 1, next_attempt_at = CASE
          WHEN (SELECT seq FROM head) IS NULL OR (SELECT seq FROM letter) < (SELECT seq FROM head) THEN NULL
          ELSE now() + ${delayMs ?? 0} * interval '1 ms' END
      WHERE group_name = ${key.group} AND topic = ${key.topic} AND key = ${key.key} AND NOT EXISTS (SELECT 1 FROM gone)`;
  }
  /** Locks the key's row, making it first; a new one waits for the delay. */ async holdKey(tx, key, delayMs) {
    await tx.$executeRaw`
      INSERT INTO parked_key (group_name, topic, key, next_attempt_at)
      VALUES (${key.group}, ${key.topic}, ${key.key}, ${delayMs === null ? Prisma.sql`NULL` : Prisma.sql`now() + ${delayMs} * interval '1 ms'`}) ON CONFLICT DO NOTHING`;
    await this.lockKey(tx, key);
  }
  async lockKey(tx, key) {
    const rows = await tx.$queryRaw`
      SELECT 1 AS one FROM parked_key WHERE group_name = ${key.group} AND topic = ${key.topic} AND key = ${key.key} FOR UPDATE`;
    return rows.length > 0;
  }
  async isDone(tx, event) {
    const rows = await tx.$queryRaw`
      SELECT 1 AS one FROM inbox WHERE group_name = ${event.group} AND event_id = ${event.eventId}::uuid
      UNION ALL SELECT 1 FROM dead_letter WHERE group_name = ${event.group} AND event_id = ${event.eventId}::uuid
      UNION ALL SELECT 1 FROM parked_event WHERE group_name = ${event.group} AND event_id = ${event.eventId}::uuid`;
    return rows.length > 0;
  }
  async append(tx, event, attempts, reason) {
    await tx.$executeRaw`
      INSERT INTO parked_event (group_name, topic, key, event_id, type, headers, payload, attempts, reason)
      VALUES (${event.group}, ${event.topic}, ${event.key}, ${event.eventId}::uuid, ${claimedType(event.headers)}, ${JSON.stringify(event.headers)}, ${event.payload}, ${attempts}, ${reason})`;
  }
  async record(tx, event, seq, attempts, reason, error) {
    const id = randomUUIDv7();
    const type = claimedType(event.headers);
    await tx.$executeRaw`
      INSERT INTO dead_letter (id, group_name, topic, key, type, event_id, seq, reason, error, attempts, headers, payload)
      VALUES (${id}::uuid, ${event.group}, ${event.topic}, ${event.key}, ${type}, ${event.eventId}::uuid, ${seq}, ${reason}, ${error}, ${attempts}, ${JSON.stringify(event.headers)}, ${event.payload})`;
    this.announce(tx, {
      id,
      group: event.group,
      topic: event.topic,
      type,
      key: event.key,
      eventId: event.eventId,
      reason,
      attempts,
    });
  }
  /** Runs the change only while the lease is still ours; a frozen instance that comes back changes nothing. */ async fenced(head, change) {
    return this.database.transaction(async (tx) => {
      const rows = await tx.$queryRaw`
        SELECT 1 AS one FROM parked_key WHERE group_name = ${head.group} AND topic = ${head.topic} AND key = ${head.key} AND epoch = ${head.epoch} FOR UPDATE`;
      if (rows.length === 0) return false;
      await change(tx);
      return true;
    });
  }
}
Parking = _ts_decorate(
  [
    Injectable(),
    _ts_param(1, Inject(DEAD_LETTER_ANNOUNCEMENT)),
    _ts_metadata('design:type', Function),
    _ts_metadata('design:paramtypes', [
      typeof Database === 'undefined' ? Object : Database,
      typeof DeadLetterAnnouncement === 'undefined' ? Object : DeadLetterAnnouncement,
    ]),
  ],
  Parking,
);

//# sourceMappingURL=parking.js.map
