import { Inject, Injectable } from '@nestjs/common';
import { failpoint } from '../../config/failpoint.js';
import { Database, type Transaction } from '../../database/database.js';
import { claimedType } from '../event/event-codec.js';
import type { WireEvent } from '../event/event-envelope.js';
import { Prisma } from '../../database/generated/client.js';
import { randomUUIDv7 } from 'node:crypto';

/** An event with all that is needed to park it. */
export interface ParkableEvent extends WireEvent {
  readonly group: string;
  readonly topic: string;
  /** What order is kept by; the event's own id where the consumer asks for no order. */
  readonly key: string;
  readonly eventId: string;
}

/** The head of a parked key, leased to this instance. */
export interface ParkedHead extends ParkableEvent {
  readonly seq: bigint;
  readonly attempts: number;
  readonly epoch: bigint;
  readonly deadLetterId: string | null;
}

export interface RecordedDeadLetter {
  readonly id: string;
  readonly group: string;
  readonly topic: string;
  readonly type: string;
  readonly key: string;
  readonly eventId: string;
  readonly reason: string;
  readonly attempts: number;
}

/** Injection token of what announces a dead letter to others, in the transaction that records it. */
export const DEAD_LETTER_ANNOUNCEMENT = Symbol('DEAD_LETTER_ANNOUNCEMENT');
export type DeadLetterAnnouncement = (tx: Transaction, letter: RecordedDeadLetter) => void;

interface KeyOf {
  readonly group: string;
  readonly topic: string;
  readonly key: string;
}

const BEHIND = 'behind an earlier event of its key';

/**
 * Keeps a failing key's events in the database, in order. Every change of a key locks its `parked_key` row first,
 * so that parking behind a key and releasing it cannot cross: whoever comes second sees what the first did.
 */
@Injectable()
export class Parking {
  constructor(
    private readonly database: Database,
    @Inject(DEAD_LETTER_ANNOUNCEMENT) private readonly announce: DeadLetterAnnouncement,
  ) {}

  /** Parks an event that failed for the first time, or leaves it when another instance has handled or parked it meanwhile. */
  async park(event: ParkableEvent, attempts: number, delayMs: number, reason: string): Promise<void> {
    await this.database.transaction(async (tx) => {
      await this.holdKey(tx, event, delayMs);
      if (!(await this.isDone(tx, event))) await this.append(tx, event, attempts, reason);
      await this.settle(tx, event, delayMs);
    });
    await failpoint('park.afterWrite');
  }

  /** Parks an event behind its key; false when the key is free again and the event is to be handled now. */
  async parkBehind(event: ParkableEvent): Promise<boolean> {
    const parked = await this.database.transaction(async (tx) => {
      if (!(await this.lockKey(tx, event))) return false;
      if (!(await this.isDone(tx, event))) await this.append(tx, event, 0, BEHIND);
      return true;
    });
    if (parked) await failpoint('park.afterWrite');
    return parked;
  }

  /** Records an event that is not parked as a dead letter; once, however often it is called. */
  async deadLetter(event: ParkableEvent, attempts: number, reason: string, error: string): Promise<void> {
    await this.database.transaction(async (tx) => {
      await this.holdKey(tx, event, null);
      if (!(await this.isDone(tx, event))) {
        const [next] = await tx.$queryRaw<{ seq: bigint }[]>`SELECT nextval(pg_get_serial_sequence('parked_event', 'seq')) AS seq`;
        await this.record(tx, event, (next as { seq: bigint }).seq, attempts, reason, error);
      }
      await this.settle(tx, event, null);
    });
    await failpoint('deadLetter.afterWrite');
  }

  /** Leases keys whose first event is due, to this call alone until the lease runs out. */
  async claim(groups: readonly string[], limit: number, leaseMs: number): Promise<(KeyOf & { epoch: bigint })[]> {
    if (groups.length === 0) return [];
    return this.database.prisma.$queryRaw<(KeyOf & { epoch: bigint })[]>`
      UPDATE parked_key SET leased_until = now() + ${leaseMs} * interval '1 ms', epoch = epoch + 1
      WHERE (group_name, topic, key) IN (
        SELECT group_name, topic, key FROM parked_key
        WHERE next_attempt_at <= now() AND (leased_until IS NULL OR leased_until < now()) AND group_name = ANY(${[...groups]}::text[])
        ORDER BY next_attempt_at LIMIT ${limit} FOR UPDATE SKIP LOCKED)
      RETURNING group_name AS "group", topic, key, epoch`;
  }

  /** Extends leases that this instance still has. */
  async renew(keys: readonly (KeyOf & { epoch: bigint })[], leaseMs: number): Promise<void> {
    await this.database.prisma.$executeRaw`
      UPDATE parked_key SET leased_until = now() + ${leaseMs} * interval '1 ms'
      FROM unnest(${keys.map(({ group }) => group)}::text[], ${keys.map(({ topic }) => topic)}::text[], ${keys.map(({ key }) => key)}::text[], ${keys.map(({ epoch }) => epoch)}::bigint[])
        AS mine(group_name, topic, key, epoch)
      WHERE parked_key.group_name = mine.group_name AND parked_key.topic = mine.topic AND parked_key.key = mine.key AND parked_key.epoch = mine.epoch`;
  }

  /**
   * The first event of a leased key; undefined when there is none, or when the lease is another instance's by now. Whoever
   * was frozen since it claimed the key would else take for the first what waits behind a dead letter.
   */
  async head(key: KeyOf & { epoch: bigint }): Promise<ParkedHead | undefined> {
    const rows = await this.database.prisma.$queryRaw<
      { seq: bigint; event_id: string; headers: string; payload: Uint8Array; attempts: number; dead_letter_id: string | null }[]
    >`SELECT seq, event_id, headers, payload, attempts, dead_letter_id FROM parked_event
      WHERE group_name = ${key.group} AND topic = ${key.topic} AND key = ${key.key} AND EXISTS (
        SELECT 1 FROM parked_key WHERE group_name = ${key.group} AND topic = ${key.topic} AND key = ${key.key} AND epoch = ${key.epoch})
      ORDER BY seq LIMIT 1`;
    const row = rows[0];
    return (
      row && {
        ...key,
        seq: row.seq,
        eventId: row.event_id,
        headers: JSON.parse(row.headers) as Record<string, string>,
        payload: Buffer.from(row.payload),
        attempts: row.attempts,
        deadLetterId: row.dead_letter_id,
      }
    );
  }

  /** Gives a lease back; with a delay, the first event is due after it. */
  async release(key: KeyOf & { epoch: bigint }): Promise<void> {
    await this.database.prisma.$executeRaw`
      UPDATE parked_key SET leased_until = NULL
      WHERE group_name = ${key.group} AND topic = ${key.topic} AND key = ${key.key} AND epoch = ${key.epoch}`;
  }

  /** The first event was handled: it goes, and the next one is due at once. False when the lease was lost. */
  async succeeded(head: ParkedHead): Promise<boolean> {
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

  /** The first event failed again: it is due after the delay. */
  async failed(head: ParkedHead, attempts: number, delayMs: number, reason: string): Promise<boolean> {
    return this.fenced(head, async (tx) => {
      await tx.$executeRaw`UPDATE parked_event SET attempts = ${attempts}, reason = ${reason} WHERE seq = ${head.seq}`;
      await this.settle(tx, head, delayMs);
    });
  }

  /** The first event is given up: it becomes a dead letter, or the open one again that it was, and goes on holding its key. */
  async exhausted(head: ParkedHead, attempts: number, reason: string, error: string): Promise<boolean> {
    const done = await this.fenced(head, async (tx) => {
      await tx.$executeRaw`DELETE FROM parked_event WHERE seq = ${head.seq}`;
      if (head.deadLetterId) {
        const letters = await tx.$queryRaw<{ type: string; eventId: string }[]>`
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
   */
  async settle(tx: Transaction, key: KeyOf, delayMs: number | null): Promise<void> {
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

  /** Locks the key's row, making it first; a new one waits for the delay. */
  async holdKey(tx: Transaction, key: KeyOf, delayMs: number | null): Promise<void> {
    await tx.$executeRaw`
      INSERT INTO parked_key (group_name, topic, key, next_attempt_at)
      VALUES (${key.group}, ${key.topic}, ${key.key}, ${delayMs === null ? Prisma.sql`NULL` : Prisma.sql`now() + ${delayMs} * interval '1 ms'`}) ON CONFLICT DO NOTHING`;
    await this.lockKey(tx, key);
  }

  private async lockKey(tx: Transaction, key: KeyOf): Promise<boolean> {
    const rows = await tx.$queryRaw<unknown[]>`
      SELECT 1 AS one FROM parked_key WHERE group_name = ${key.group} AND topic = ${key.topic} AND key = ${key.key} FOR UPDATE`;
    return rows.length > 0;
  }

  private async isDone(tx: Transaction, event: ParkableEvent): Promise<boolean> {
    const rows = await tx.$queryRaw<unknown[]>`
      SELECT 1 AS one FROM inbox WHERE group_name = ${event.group} AND event_id = ${event.eventId}::uuid
      UNION ALL SELECT 1 FROM dead_letter WHERE group_name = ${event.group} AND event_id = ${event.eventId}::uuid
      UNION ALL SELECT 1 FROM parked_event WHERE group_name = ${event.group} AND event_id = ${event.eventId}::uuid`;
    return rows.length > 0;
  }

  private async append(tx: Transaction, event: ParkableEvent, attempts: number, reason: string): Promise<void> {
    await tx.$executeRaw`
      INSERT INTO parked_event (group_name, topic, key, event_id, type, headers, payload, attempts, reason)
      VALUES (${event.group}, ${event.topic}, ${event.key}, ${event.eventId}::uuid, ${claimedType(event.headers)}, ${JSON.stringify(event.headers)}, ${event.payload}, ${attempts}, ${reason})`;
  }

  private async record(tx: Transaction, event: ParkableEvent, seq: bigint, attempts: number, reason: string, error: string): Promise<void> {
    const id = randomUUIDv7();
    const type = claimedType(event.headers);
    await tx.$executeRaw`
      INSERT INTO dead_letter (id, group_name, topic, key, type, event_id, seq, reason, error, attempts, headers, payload)
      VALUES (${id}::uuid, ${event.group}, ${event.topic}, ${event.key}, ${type}, ${event.eventId}::uuid, ${seq}, ${reason}, ${error}, ${attempts}, ${JSON.stringify(event.headers)}, ${event.payload})`;
    this.announce(tx, { id, group: event.group, topic: event.topic, type, key: event.key, eventId: event.eventId, reason, attempts });
  }

  /** Runs the change only while the lease is still ours; a frozen instance that comes back changes nothing. */
  private async fenced(head: ParkedHead, change: (tx: Transaction) => Promise<void>): Promise<boolean> {
    return this.database.transaction(async (tx) => {
      const rows = await tx.$queryRaw<unknown[]>`
        SELECT 1 AS one FROM parked_key WHERE group_name = ${head.group} AND topic = ${head.topic} AND key = ${head.key} AND epoch = ${head.epoch} FOR UPDATE`;
      if (rows.length === 0) return false;
      await change(tx);
      return true;
    });
  }
}
