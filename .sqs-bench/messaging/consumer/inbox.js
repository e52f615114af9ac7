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
import { DatabasePool } from '../../database/database-pool.js';
const MOST_AT_ONCE = 500;
const DELETE_BATCH = 5000;
export class Inbox {
  database;
  questions = [];
  asking = false;
  constructor(database) {
    this.database = database;
  }
  /** Marks the event as handled, in the transaction of its effect; false when it was already. A twin waits here for the first to end. */ async mark(
    tx,
    group,
    eventId,
  ) {
    return (
      (await tx.$executeRaw`INSERT INTO inbox (group_name, event_id) VALUES (${group}, ${eventId}::uuid) ON CONFLICT DO NOTHING`) === 1
    );
  }
  /** For a handler that had no effect in the database. */ async markNow(group, eventId) {
    await this.database.query('INSERT INTO inbox (group_name, event_id) VALUES ($1, $2) ON CONFLICT DO NOTHING', [group, eventId]);
  }
  async has(group, eventId) {
    return (await this.database.query('SELECT 1 AS one FROM inbox WHERE group_name = $1 AND event_id = $2', [group, eventId])).length > 0;
  }
  /** How an event stands with a group. Questions that come while one is under way are asked together. */ standing(
    group,
    topic,
    key,
    eventId,
  ) {
    return new Promise((answer, fail) => {
      this.questions.push({
        group,
        topic,
        key,
        eventId,
        answer,
        fail,
      });
      if (!this.asking) void this.ask();
    });
  }
  async ask() {
    this.asking = true;
    await Promise.resolve(); // whoever asks in the same turn comes along
    while (this.questions.length > 0) {
      const batch = this.questions.splice(0, MOST_AT_ONCE);
      try {
        const rows = await this.database.query(
          `SELECT EXISTS (SELECT 1 FROM inbox i WHERE i.group_name = q.group_name AND i.event_id = q.event_id)
               OR EXISTS (SELECT 1 FROM dead_letter d WHERE d.group_name = q.group_name AND d.event_id = q.event_id) AS done,
               EXISTS (SELECT 1 FROM parked_key p WHERE p.group_name = q.group_name AND p.topic = q.topic AND p.key = q.key) AS held
           FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[]) WITH ORDINALITY AS q(group_name, topic, key, event_id, position) ORDER BY q.position`,
          [
            batch.map(({ group }) => group),
            batch.map(({ topic }) => topic),
            batch.map(({ key }) => key),
            batch.map(({ eventId }) => eventId),
          ],
        );
        batch.forEach((question, index) => question.answer(rows[index]));
      } catch (error) {
        for (const question of batch) question.fail(error);
      }
    }
    this.asking = false;
  }
  /** Forgets what is older than the retention, by the database's clock. */ async cleanUp(retentionDays) {
    let total = 0;
    for (;;) {
      const rows = await this.database.query(
        `DELETE FROM inbox WHERE ctid IN (SELECT ctid FROM inbox WHERE handled_at < now() - $1 * interval '1 day' LIMIT $2) RETURNING 1 AS one`,
        [retentionDays, DELETE_BATCH],
      );
      total += rows.length;
      if (rows.length < DELETE_BATCH) return total;
    }
  }
}
Inbox = _ts_decorate(
  [
    Injectable(),
    _ts_metadata('design:type', Function),
    _ts_metadata('design:paramtypes', [typeof DatabasePool === 'undefined' ? Object : DatabasePool]),
  ],
  Inbox,
);

//# sourceMappingURL=inbox.js.map
