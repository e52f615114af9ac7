import { LaneLeases } from '../../lane/lane-leases.js';
import { LowWater, type Lanes } from '../../lane/low-water.js';
import type { ActiveSubscription, Deliver, SubscribeOptions, Subscription } from '../broker-adapter.js';
import { queueSubject, type PostgresSettings } from './postgres.settings.js';
import { headersIn } from '../../event/headers.js';

const POLL_MS = 1000;
const TROUBLE_POLL_MS = 250;
/** The longest that rows wait in the queue for others here to end. */
const MOST_REST_MS = 25;

interface QueuedRow {
  lane: number;
  id: string;
  event_id: string;
  type: string;
  key: string;
  headers: string;
  payload: Buffer;
}

/**
 * Where a queue's lanes begin. A row comes into a queue with the id it had in the outbox, in the statement that takes it
 * from there: what the lane has there, or parked, is still to come. What is published again has a new id.
 */
const MARKS = `
  WITH first AS MATERIALIZED (SELECT lane, id FROM queue_head($4::text, $1::smallint[], $2::bigint[], 1, $5::bigint[])),
  coming AS MATERIALIZED (SELECT lane, id FROM outbox_head($1::smallint[], $2::bigint[], 1, $5::bigint[], $6::text[]))
  SELECT wanted.lane, least(
    $3::bigint + 1,
    (SELECT id FROM first WHERE first.lane = wanted.lane),
    (SELECT id FROM coming WHERE coming.lane = wanted.lane),
    (SELECT min(id) FROM outbox_parked WHERE outbox_parked.lane = wanted.lane)
  )::text AS low
  FROM unnest($1::smallint[]) AS wanted(lane)`;

export function lanesOf(queue: string): Lanes {
  return { tables: ['outbox', 'queued_message'], marks: MARKS, more: [queue, [], []] };
}

/**
 * Consumes one queue: leases lanes, reads their heads, delivers in order, deletes what is settled. A read leaves
 * out what is in flight here, and begins at the lane's head again each time, never behind what it saw last, so a row of a key is delivered only
 * after the earlier ones of that key were delivered. Nothing is locked while a handler works.
 */
export class PostgresSubscription implements ActiveSubscription {
  private readonly leases: LaneLeases;
  private readonly lowWater: LowWater;
  private readonly inFlight = new Map<string, { lane: number; abort: AbortController }>();
  private settledRows: { lane: number; id: string }[] = [];
  /** Settled and not yet deleted: still to be left out of reads. */
  private readonly undeleted = new Set<string>();
  private deleting: Promise<void> | undefined;
  private loop: Promise<void> | undefined;
  private wakeUp: (() => void) | undefined;
  private awake = false;
  private closing = false;
  private unlisten: (() => void) | undefined;

  constructor(
    private readonly settings: PostgresSettings,
    private readonly subscription: Subscription,
    private readonly queue: string,
    private readonly deliver: Deliver,
    private readonly options: SubscribeOptions,
  ) {
    this.lowWater = new LowWater(settings.database, lanesOf(queue), settings.rowsBetweenLooks);
    this.leases = new LaneLeases(settings.database, {
      pool: `queue:${queue}`,
      lanes: settings.lanes,
      owner: settings.instance,
      leaseMs: settings.postgres.leaseMs,
      logger: settings.logger,
      onChange: () => {
        this.abortLost();
        this.wake();
      },
    });
  }

  async start(): Promise<void> {
    await this.leases.start();
    this.unlisten = this.settings.notifications.listen(queueSubject(this.queue), () => this.wake());
    this.loop = this.run();
  }

  async close(): Promise<void> {
    this.closing = true;
    this.unlisten?.();
    this.wake();
    await this.loop;
    while (this.inFlight.size > 0 || this.settledRows.length > 0) {
      await this.flush().catch((error: unknown) => {
        this.settings.logger.warn(
          { err: error, queue: this.queue },
          'handled messages could not be deleted; they come again and are recognised',
        );
        this.settledRows = [];
      });
      if (this.inFlight.size > 0) await this.sleep(POLL_MS);
    }
    await this.leases.stop();
  }

  private async run(): Promise<void> {
    while (!this.closing) {
      this.awake = false;
      try {
        await this.flush();
        const room = this.options.maxInFlight - this.inFlight.size;
        const lanes = this.ready();
        const rows = room > 0 && lanes.length > 0 ? await this.read(lanes, room) : [];
        for (const row of rows) this.hand(row);
        if (rows.length === 0) await this.sleep(POLL_MS);
        else await this.someRoom();
      } catch (error) {
        this.lowWater.forget();
        this.settings.logger.debug({ err: error, queue: this.queue }, 'the queue could not be read');
        await this.sleep(TROUBLE_POLL_MS, true);
      }
    }
  }

  /** Waits for a quarter of the places to be free, as a look for one row costs as much as one for many; not for long, as what has them may be slow. */
  private async someRoom(): Promise<void> {
    const { maxInFlight } = this.options;
    const until = performance.now() + MOST_REST_MS;
    for (let leftMs = MOST_REST_MS; leftMs > 0 && !this.closing && this.inFlight.size > maxInFlight * 0.75;) {
      await this.sleep(leftMs);
      leftMs = until - performance.now();
    }
  }

  /** The lanes to read from. One that was lost and is ours again waits for what was in hand then: it goes back, before what came later. */
  private ready(): number[] {
    const draining = new Set([...this.inFlight.values()].filter(({ abort }) => abort.signal.aborted).map(({ lane }) => lane));
    return this.leases.owned().filter((lane) => !draining.has(lane));
  }

  private async read(lanes: readonly number[], room: number): Promise<QueuedRow[]> {
    const lows = await this.lowWater.of(lanes);
    const out = [...this.inFlight.keys(), ...this.undeleted];
    return this.settings.database.query<QueuedRow>(
      'SELECT * FROM queue_head($1::text, $2::smallint[], $3::bigint[], $4::int, $5::bigint[]) LIMIT $6',
      [this.queue, lanes, lows, Math.max(1, Math.ceil(room / lanes.length)), out, room],
    );
  }

  private hand(row: QueuedRow): void {
    const abort = new AbortController();
    this.inFlight.set(row.id, { lane: row.lane, abort });
    const headers = headersIn(row.headers);
    void this.deliver({
      deliveryId: `${this.queue}/${row.id}`,
      topic: this.subscription.topic,
      key: row.key,
      headers: headers ?? {},
      payload: row.payload,
      signal: abort.signal,
      ...(!headers && { undeliverable: 'its headers are no JSON object of texts' }),
    }).then((settlement) => {
      this.inFlight.delete(row.id);
      if (settlement === 'settled') {
        this.undeleted.add(row.id);
        this.settledRows.push({ lane: row.lane, id: row.id });
      }
      this.wake();
    });
  }

  /** Deletes what is settled; a row that could not be deleted comes again and is recognised by the inbox. */
  private async flush(): Promise<void> {
    await this.deleting;
    if (this.settledRows.length === 0) return;
    const rows = this.settledRows;
    this.settledRows = [];
    this.deleting = this.settings.database
      .query(
        'DELETE FROM queued_message USING unnest($2::smallint[], $3::bigint[]) AS done(lane, id) WHERE queue = $1 AND queued_message.lane = done.lane AND queued_message.id = done.id',
        [this.queue, rows.map(({ lane }) => lane), rows.map(({ id }) => id)],
      )
      .then(
        () => {
          for (const { id } of rows) this.undeleted.delete(id);
          this.lowWater.pass(rows.length);
        },
        (error: unknown) => {
          this.settledRows.push(...rows);
          throw error;
        },
      )
      .finally(() => (this.deleting = undefined));
    await this.deleting;
  }

  private abortLost(): void {
    for (const { lane, abort } of this.inFlight.values())
      if (!this.leases.holds(lane) && !this.closing) abort.abort(new Error('the lease on the lane was lost'));
  }

  private wake(): void {
    this.awake = true;
    this.wakeUp?.();
  }

  private async sleep(ms: number, deaf = false): Promise<void> {
    if (this.awake && !deaf) {
      this.awake = false;
      return;
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wakeUp = (): void => {
        if (deaf && !this.closing) return;
        clearTimeout(timer);
        resolve();
      };
    });
    this.wakeUp = undefined;
  }
}
