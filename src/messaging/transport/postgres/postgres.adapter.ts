import {
  BrokerUnavailableError,
  messageBytes,
  MessageRejectedError,
  type ActiveSubscription,
  type BrokerAdapter,
  type Deliver,
  type MeasuresLag,
  type MovesOutbox,
  type MovedRows,
  type OutgoingMessage,
  type SubscribeOptions,
  type Subscription,
  type Topology,
} from '../broker-adapter.js';
import { bucketOf } from '../../event/key-hash.js';
import { queueSubject, type PostgresSettings } from './postgres.settings.js';
import { PostgresSubscription } from './postgres.subscription.js';

const MAX_MESSAGE_BYTES = 8 * 1024 * 1024;

/**
 * BROKER=postgres: each group has a queue of rows. The relay moves rows there inside the database, in one
 * statement, so there is no moment at which an event is in neither or in both.
 */
export class PostgresAdapter implements BrokerAdapter, MovesOutbox, MeasuresLag {
  readonly maxMessageBytes = MAX_MESSAGE_BYTES;
  private subscriptions: readonly Subscription[] = [];

  constructor(private readonly settings: PostgresSettings) {}

  async open(topology: Topology): Promise<void> {
    this.subscriptions = topology.subscriptions;
    await this.check();
  }

  async publish(messages: readonly OutgoingMessage[]): Promise<readonly (Error | undefined)[]> {
    const outcomes = messages.map((message) => this.refusal(message));
    const accepted = messages.filter((_, index) => outcomes[index] === undefined);
    const entries = accepted.flatMap((message) => this.queuesOf(message.topic).map((queue) => ({ queue, message })));
    if (entries.length > 0) {
      await this.settings.database.query(
        `INSERT INTO queued_message (queue, lane, id, event_id, topic, type, key, headers, payload, created_at)
         SELECT e.queue, e.lane, nextval(pg_get_serial_sequence('outbox', 'id')), e.event_id, e.topic, e.type, e.key, e.headers, e.payload, clock_timestamp()
         FROM unnest($1::text[], $2::smallint[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bytea[])
           WITH ORDINALITY AS e(queue, lane, event_id, topic, type, key, headers, payload, position) ORDER BY e.position`,
        [
          entries.map(({ queue }) => queue),
          entries.map(({ message }) => bucketOf(message.key, this.settings.lanes)),
          entries.map(({ message }) => message.eventId),
          entries.map(({ message }) => message.topic),
          entries.map(({ message }) => message.type),
          entries.map(({ message }) => message.key),
          entries.map(({ message }) => JSON.stringify(message.headers)),
          entries.map(({ message }) => message.payload),
        ],
      );
    }
    this.hint(accepted.map(({ topic }) => topic));
    return outcomes;
  }

  /**
   * One statement deletes the rows and inserts one copy for each group of their topic. Two movers at once (an
   * expired lease) cannot both take a row: the second waits for the first's row lock and then finds it gone. The
   * groups are those that are declared at that moment, also by other versions of the application.
   */
  async moveOutbox(request: Parameters<MovesOutbox['moveOutbox']>[0]): Promise<MovedRows> {
    const { lanes, lows, topics, heldKeys, limit } = request;
    const [taken] = await this.settings.database.query<{ topics: string[] | null }>(
      `WITH head AS (
         SELECT lane, id FROM outbox_head_of_topics($1::smallint[], $5::bigint[], $3::int, $2::text[], $6::text[])
       ), taken AS (
         DELETE FROM outbox USING head WHERE outbox.lane = head.lane AND outbox.id = head.id RETURNING outbox.*
       ), queued AS (
         INSERT INTO queued_message (queue, lane, id, event_id, topic, type, key, headers, payload, created_at)
         SELECT $4::text || '.' || sub.group_name || '.' || sub.topic, taken.lane, taken.id, taken.event_id, taken.topic, taken.type, taken.key, taken.headers, convert_to(taken.payload, 'UTF8'), taken.created_at
         FROM taken JOIN declared_subscription AS sub ON sub.topic = taken.topic
       )
       SELECT array_agg(topic) AS topics FROM taken`,
      [lanes, topics, Math.ceil(limit / lanes.length), this.settings.namespace, lows, heldKeys],
    );
    const moved = new Map<string, number>();
    for (const topic of taken?.topics ?? []) moved.set(topic, (moved.get(topic) ?? 0) + 1);
    this.hint([...moved.keys()]);
    return moved;
  }

  async subscribe(subscription: Subscription, deliver: Deliver, options: SubscribeOptions): Promise<ActiveSubscription> {
    const active = new PostgresSubscription(this.settings, subscription, this.queueOf(subscription), deliver, options);
    await active.start();
    return active;
  }

  async lag(subscription: Subscription): Promise<number> {
    const [row] = await this.settings.database.query<{ lag: number }>('SELECT count(*)::int AS lag FROM queued_message WHERE queue = $1', [
      this.queueOf(subscription),
    ]);
    return row?.lag ?? 0;
  }

  async check(): Promise<void> {
    await this.settings.database.query('SELECT 1').catch((cause: unknown) => {
      throw new BrokerUnavailableError('PostgreSQL, which is the broker too, does not answer', { cause });
    });
  }

  close(): Promise<void> {
    return Promise.resolve(); // the connections belong to DatabasePool
  }

  private refusal(message: OutgoingMessage): MessageRejectedError | undefined {
    const bytes = messageBytes(message);
    return bytes > MAX_MESSAGE_BYTES
      ? new MessageRejectedError(`event ${message.eventId} has ${bytes} bytes; a queue takes ${MAX_MESSAGE_BYTES}`)
      : undefined;
  }

  private hint(topics: readonly string[]): void {
    for (const queue of new Set(topics.flatMap((topic) => this.queuesOf(topic)))) this.settings.notifications.notify(queueSubject(queue));
  }

  private queuesOf(topic: string): string[] {
    return this.subscriptions.filter((subscription) => subscription.topic === topic).map((subscription) => this.queueOf(subscription));
  }

  private queueOf({ group, topic }: Subscription): string {
    return `${this.settings.namespace}.${group}.${topic}`;
  }
}
