import { Injectable } from '@nestjs/common';
import { failpoint } from '../../config/failpoint.js';
import { Database, type Transaction } from '../../database/database.js';
import { Prisma } from '../../database/generated/client.js';
import { Notifications } from '../../database/notifications.js';
import { decodeData, editedHeaders } from '../event/event-codec.js';
import { GROUPS_SUBJECT } from './consumers.js';
import { Parking } from './parking.js';

export interface DeadLetterFilter {
  readonly group?: string;
  readonly type?: string;
  readonly key?: string;
  readonly before?: Date;
}

/** There is no such dead letter. */
export class DeadLetterNotFoundError extends Error {
  readonly code = 'DEAD_LETTER.NOT_FOUND';
  override readonly name = 'DeadLetterNotFoundError';
}

/** It is being replayed, was replayed, or was discarded. */
export class DeadLetterNotOpenError extends Error {
  readonly code = 'DEAD_LETTER.NOT_OPEN';
  override readonly name = 'DeadLetterNotOpenError';
}

interface Letter {
  id: string;
  group: string;
  topic: string;
  key: string;
  type: string;
  eventId: string;
  seq: bigint;
  state: string;
  headers: string;
  payload: Uint8Array;
}

const BULK = 500;

/** What an operator can do about dead letters. */
@Injectable()
export class DeadLetters {
  constructor(
    private readonly database: Database,
    private readonly parking: Parking,
    private readonly notifications: Notifications,
  ) {}

  /**
   * Puts the event back in its place before what waits behind it; it gets all its attempts again. With data, as
   * a new event that the old one caused.
   * @throws DeadLetterNotFoundError, DeadLetterNotOpenError, InvalidEventError naming the fields of the data
   */
  async replay(id: string, data?: unknown): Promise<void> {
    await this.database.transaction(async (tx) => {
      const letter = await this.lockOpen(tx, id);
      await this.putBack(tx, letter, data);
    });
    await failpoint('replay.afterWrite');
    this.notifications.notify(GROUPS_SUBJECT);
  }

  /** Replays every open one that matches; answers how many. */
  async replayAll(filter: DeadLetterFilter): Promise<number> {
    let total = 0;
    for (;;) {
      const replayed = await this.database.transaction(async (tx) => {
        const letters = await tx.$queryRaw<Letter[]>`
          SELECT ${COLUMNS} FROM dead_letter WHERE state = 'open'
            ${filter.group === undefined ? Prisma.empty : Prisma.sql`AND group_name = ${filter.group}`}
            ${filter.type === undefined ? Prisma.empty : Prisma.sql`AND type = ${filter.type}`}
            ${filter.key === undefined ? Prisma.empty : Prisma.sql`AND key = ${filter.key}`}
            ${filter.before === undefined ? Prisma.empty : Prisma.sql`AND failed_at < ${filter.before}`}
          ORDER BY group_name, topic, key, seq LIMIT ${BULK} FOR UPDATE SKIP LOCKED`;
        for (const letter of letters) await this.putBack(tx, letter);
        return letters.length;
      });
      total += replayed;
      this.notifications.notify(GROUPS_SUBJECT);
      if (replayed < BULK) return total;
    }
  }

  /**
   * Drops the event for its group; what waits behind it goes on.
   * @throws DeadLetterNotFoundError, DeadLetterNotOpenError
   */
  async discard(id: string, reason: string): Promise<void> {
    await this.database.transaction(async (tx) => {
      const letter = await this.lockOpen(tx, id);
      await this.parking.holdKey(tx, letter, null);
      await tx.$executeRaw`UPDATE dead_letter SET state = 'discarded', discard_reason = ${reason} WHERE id = ${id}::uuid`;
      await tx.$executeRaw`INSERT INTO inbox (group_name, event_id) VALUES (${letter.group}, ${letter.eventId}::uuid) ON CONFLICT DO NOTHING`;
      await this.parking.settle(tx, letter, 0);
    });
    this.notifications.notify(GROUPS_SUBJECT);
  }

  private async putBack(tx: Transaction, letter: Letter, data?: unknown): Promise<void> {
    await this.parking.holdKey(tx, letter, null);
    let { eventId, headers, payload } = letter;
    if (data !== undefined) {
      const former = JSON.parse(headers) as Record<string, string>;
      decodeData(letter.type, former['ce_dataschema'], data);
      const edited = editedHeaders(former);
      eventId = edited.eventId;
      headers = JSON.stringify(edited.headers);
      payload = Buffer.from(JSON.stringify(data), 'utf8');
    }
    await tx.$executeRaw`
      UPDATE dead_letter SET state = 'replaying'
        ${data === undefined ? Prisma.empty : Prisma.sql`, edited_headers = ${headers}, edited_payload = ${payload}`} WHERE id = ${letter.id}::uuid`;
    await tx.$executeRaw`
      INSERT INTO parked_event (seq, group_name, topic, key, event_id, type, headers, payload, attempts, reason, dead_letter_id)
      VALUES (${letter.seq}, ${letter.group}, ${letter.topic}, ${letter.key}, ${eventId}::uuid, ${letter.type}, ${headers}, ${payload}, 0, 'being replayed', ${letter.id}::uuid)`;
    await this.parking.settle(tx, letter, 0);
  }

  private async lockOpen(tx: Transaction, id: string): Promise<Letter> {
    const [letter] = await tx.$queryRaw<Letter[]>`SELECT ${COLUMNS} FROM dead_letter WHERE id = ${id}::uuid FOR UPDATE`;
    if (!letter) throw new DeadLetterNotFoundError(`there is no dead letter ${id}`);
    if (letter.state !== 'open')
      throw new DeadLetterNotOpenError(`dead letter ${id} is ${letter.state}; only an open one can be replayed or discarded`);
    return letter;
  }
}

/** With the last replaced data, where an operator has replaced it. */
const COLUMNS = Prisma.sql`id, group_name AS "group", topic, key, type, event_id AS "eventId", seq, state,
  coalesce(edited_headers, headers) AS headers, coalesce(edited_payload, payload) AS payload`;
