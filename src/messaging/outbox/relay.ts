import { Inject, Injectable } from '@nestjs/common';
import { DatabasePool } from '../../database/database-pool.js';
import { Notifications } from '../../database/notifications.js';
import { LOGGER, type Logger } from '../../observability/logger.js';
import { Metrics } from '../../observability/metrics.js';
import { claimedOrigin } from '../event/event-codec.js';
import { eventClassOf, definitionOf, type PublishFailurePolicy } from '../event/event-definition.js';
import { LaneLeases } from '../lane/lane-leases.js';
import { LowWater } from '../lane/low-water.js';
import { MessagingSettings } from '../messaging-settings.js';
import { fansOut, MessageRejectedError, movesOutbox } from '../transport/broker-adapter.js';
import { backoffMs } from '../transport/backoff.js';
import { BrokerConnection } from '../transport/broker-connection.js';
import { DeclaredSubscriptions } from '../transport/declared-subscriptions.js';
import { OUTBOX_SUBJECT } from './outbox.js';
import { heldKeyOf, OUTBOX_LANES, OutboxTable, topicOf, type OutboxRow } from './outbox-table.js';
import { failpoint, isArmed } from '../../config/failpoint.js';

const CIRCUIT_BASE_MS = 100;
const CIRCUIT_MAX_MS = 5000;
const HOLD_BASE_MS = 500;
const HOLD_MAX_MS = 10_000;
/** The longest that events wait for company while others keep coming. */
const MOST_REST_MS = 25;

interface Hold {
  attempts: number;
  until: number;
}

/**
 * Drains the outbox: reads the heads of the lanes it leases, publishes, and deletes exactly what the broker has
 * proved to hold. Why nothing is lost: a row goes only after its proof. Why a key keeps its order: rows of a key
 * are in one lane in commit order, are always read from the lane's head, are handed over in that order, and a
 * key whose event failed is left out until that event is through. Two relays on one lane (an expired lease)
 * each send a prefix of what is left, in order: what is seen first is in order, the rest are duplicates.
 */
@Injectable()
export class Relay {
  private readonly table: OutboxTable;
  private readonly declared: DeclaredSubscriptions;
  private readonly leases: LaneLeases;
  private readonly lowWater: LowWater;
  private readonly holds = new Map<string, Hold>();
  private parked = new Set<string>();
  /** Counts the changes of lanes, and which of them `holds` and `parked` were read after. */
  private laneChanges = 0;
  private holdsReadAt = -1;
  /** Counts twice what this relay itself holds and parks, as it begins and as it ends: odd while that is being written. */
  private holdChanges = 0;
  private topics: readonly string[] = [];
  private running: Promise<void> | undefined;
  private stopping = false;
  private awake = false;
  /** Rows of undeclared topics are looked for when there is nothing else to do, and at every poll. */
  private lookForUndeclared = true;
  private wakeUp: (() => void) | undefined;
  private unlisten: (() => void) | undefined;
  private circuitFailures = 0;

  constructor(
    database: DatabasePool,
    private readonly notifications: Notifications,
    private readonly broker: BrokerConnection,
    private readonly settings: MessagingSettings,
    private readonly metrics: Metrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    this.table = new OutboxTable(database);
    this.declared = new DeclaredSubscriptions(database);
    this.lowWater = new LowWater(database, OUTBOX_LANES);
    this.leases = new LaneLeases(database, {
      pool: 'outbox',
      lanes: settings.lanes,
      owner: settings.instance,
      leaseMs: settings.config.outbox.leaseMs,
      logger,
      onChange: () => {
        this.laneChanges++;
        this.wake();
      },
    });
  }

  /** Begins to drain as soon as the broker's topology exists. */
  start(topics: readonly string[]): void {
    this.topics = topics;
    this.unlisten = this.notifications.listen(OUTBOX_SUBJECT, () => this.wake());
    this.running = this.run();
  }

  /** There may be rows: look now. Never rejects, costs nothing when it is busy already. */
  wake(): void {
    this.awake = true;
    this.wakeUp?.();
  }

  /** The safety net's look: also at keys on hold and at parked ones. */
  async poll(): Promise<void> {
    if (!this.running || this.stopping) return;
    await this.refreshHolds();
    this.lookForUndeclared = true;
    if (this.parked.size > 0) await this.table.followParked(this.settings.instance);
    this.wake();
  }

  /** @throws Error why this relay cannot hold the leases that it publishes by */
  assertLeasing(): void {
    const { trouble } = this.leases;
    if (trouble) throw new Error(`the leases on the lanes cannot be renewed: ${trouble.message}`, { cause: trouble });
  }

  /** Ends the batch in hand, then gives the lanes back. */
  async stop(): Promise<void> {
    this.stopping = true;
    this.unlisten?.();
    this.wake();
    await this.running;
    if (this.running) await this.leases.stop();
  }

  private async run(): Promise<void> {
    await Promise.race([this.broker.whenOpen(), this.whenStopping()]);
    if (this.stopping) return;
    await this.leases.start();
    while (!this.stopping) {
      this.awake = false;
      try {
        const began = performance.now();
        const more = movesOutbox(this.broker.adapter) ? await this.move() : await this.drain();
        this.circuitFailures = 0;
        if (more) continue;
        // Events keep coming: without a rest each would have a round of its own, and the rounds would take the CPU from who
        // emits. A round is short while there is time to spare, and so is the rest.
        if (this.awake) await pause(Math.min(performance.now() - began, MOST_REST_MS));
        await this.idle();
      } catch (error) {
        this.circuitFailures++;
        this.lowWater.forget();
        if (this.circuitFailures === 1) this.logger.warn({ err: error }, 'publishing stopped; the outbox keeps the events');
        await this.idle(backoffMs(this.circuitFailures, CIRCUIT_BASE_MS, CIRCUIT_MAX_MS), true);
      }
    }
  }

  /** The postgres broker: rows go into the queues inside the database. */
  private async move(): Promise<boolean> {
    const lanes = await this.lanesToRead();
    const adapter = this.broker.adapter;
    if (lanes.length === 0 || !movesOutbox(adapter)) return false;
    const limit = this.settings.config.outbox.batchSize;
    const lows = await this.lowWater.of(lanes);
    const held = this.heldKeys();
    if (isArmed('relay.afterRead') && (await this.table.read(lanes, lows, 1, [], held)).length > 0) await failpoint('relay.afterRead');
    const end = this.metrics.publishDuration.startTimer();
    const rows = await adapter.moveOutbox({ lanes, lows, topics: this.topics, heldKeys: held, limit });
    const moved = [...rows.values()].reduce((sum, count) => sum + count, 0);
    this.lowWater.pass(moved);
    if (moved > 0) {
      end();
      await failpoint('relay.afterPublish'); // reading, publishing and deleting are one statement here, which has committed
      await failpoint('relay.beforeDelete');
    }
    await this.release([...this.holds.keys()].filter((key) => !held.includes(key) && this.topics.includes(topicOf(key))));
    for (const [topic, count] of rows) this.metrics.published.inc({ topic }, count);
    if (this.mayLeaveMore(moved)) return true;
    if (moved > 0 && !this.lookForUndeclared && this.holds.size === 0) return false;
    this.lookForUndeclared = false;
    const undeclared = await this.table.readUndeclared(lanes, this.topics, this.heldKeys());
    for (const row of firstOfEachKey(undeclared)) await this.refuse(row, this.undeclared(row));
    return moved > 0 || undeclared.length > 0;
  }

  /**
   * Reads the next batch while this one is being published, and deletes the last one meanwhile.
   * @returns whether there may be more to do; what is committed after the last read comes with a signal of its own
   * @throws Error the broker or the database could not be reached; everything unproved is still in the outbox
   */
  private async drain(): Promise<boolean> {
    const { batchSize } = this.settings.config.outbox;
    const read = async (inHand: readonly OutboxRow[]): Promise<OutboxRow[]> => {
      const lanes = await this.lanesToRead();
      if (lanes.length === 0) return [];
      const lows = await this.lowWater.of(lanes);
      return this.table.read(
        lanes,
        lows,
        batchSize,
        inHand.map(({ id }) => id),
        this.heldKeys(),
      );
    };
    let rows = await read([]);
    if (rows.length === 0) return false;
    const groups = await this.serveGroups();
    let deleting: Promise<boolean> = Promise.resolve(true);
    let deletingRows: OutboxRow[] = [];
    let left = false;
    try {
      while (rows.length > 0) {
        await failpoint('relay.afterRead');
        const next = this.mayLeaveMore(rows.length) ? settled(read([...deletingRows, ...rows])) : Promise.resolve({ value: [] });
        const { done, refused, trouble } = await this.publish(rows);
        await failpoint('relay.afterPublish');
        // What was published for too few groups is still there: it begins anew, from the head, for all of them.
        if (!(await deleting)) return true;
        await failpoint('relay.beforeDelete');
        deleting = this.table.delete(done, groups);
        this.lowWater.pass(done.length);
        deleting.catch(() => undefined); // awaited below or in the next round; this only marks it as handled
        deletingRows = done;
        if (this.holds.size > 0) await this.release(done.map(heldKeyOf));
        for (const { row, error } of refused) await this.refuse(row, error);
        const ahead: { value?: OutboxRow[]; error?: Error } = await next;
        if (trouble) throw trouble;
        if (ahead.error) throw ahead.error;
        if (this.stopping) break;
        // A key of which a row was left behind, held, parked or skipped over is read anew from its head: what was read ahead leaves that row out.
        const stopped = stoppedKeys(rows, done);
        const found = ahead.value ?? [];
        const leftOut = [stopped, this.holds, this.parked].filter(({ size }) => size > 0);
        rows = leftOut.length === 0 ? found : found.filter((row) => leftOut.every((keys) => !keys.has(heldKeyOf(row))));
        left ||= stopped.size > 0 || rows.length < found.length;
      }
    } finally {
      await deleting;
    }
    return left || !(await deleting) || this.holds.size > 0;
  }

  /** A lane can have more than was read only when it gave its whole share, which is the batch divided by the lanes or more. */
  private mayLeaveMore(count: number): boolean {
    return count * this.settings.lanes >= this.settings.config.outbox.batchSize;
  }

  /** Lets the adapter know of every group; answers which they are, and undefined where the broker knows them itself. */
  private async serveGroups(): Promise<string | undefined> {
    const { adapter } = this.broker;
    if (!fansOut(adapter)) return undefined;
    const { subscriptions, version } = await this.declared.read();
    await adapter.serve(subscriptions);
    return version;
  }

  private async publish(
    rows: readonly OutboxRow[],
  ): Promise<{ done: OutboxRow[]; refused: { row: OutboxRow; error: Error }[]; trouble: Error | undefined }> {
    const done: OutboxRow[] = [];
    const refused: { row: OutboxRow; error: Error }[] = [];
    const declared: OutboxRow[] = [];
    const failed = new Set<string>();
    for (const row of rows) {
      if (failed.size > 0 && failed.has(heldKeyOf(row))) continue;
      const error = this.topics.includes(row.topic) ? faultOf(row) : this.undeclared(row);
      if (!error) declared.push(row);
      else {
        failed.add(heldKeyOf(row));
        refused.push({ row, error });
      }
    }
    if (declared.length === 0) return { done, refused, trouble: undefined };
    const end = this.metrics.publishDuration.startTimer();
    const outcomes = await this.broker.adapter.publish(declared).catch((error: unknown) => declared.map(() => error as Error));
    end();
    let trouble: Error | undefined;
    declared.forEach((row, index) => {
      const error = outcomes[index];
      if (!error) {
        done.push(row);
        return;
      }
      const key = heldKeyOf(row);
      if (!(error instanceof MessageRejectedError)) {
        trouble ??= error;
        this.metrics.publishFailures.inc({ kind: 'transport' });
      } else if (!failed.has(key)) refused.push({ row, error });
      failed.add(key);
    });
    for (const [topic, count] of countsOf(done)) this.metrics.published.inc({ topic }, count);
    return { done, refused, trouble };
  }

  private undeclared(row: OutboxRow): MessageRejectedError {
    return new MessageRejectedError(`topic "${row.topic}" is declared by no event class and no consumer of this application`);
  }

  /** Holds the key back; at the limit does what the topic's policy says. */
  private async refuse(row: OutboxRow, error: Error): Promise<void> {
    this.holdChanges++;
    try {
      await this.holdOrPark(row, error);
    } finally {
      this.holdChanges++;
    }
  }

  private async holdOrPark(row: OutboxRow, error: Error): Promise<void> {
    const key = heldKeyOf(row);
    const attempts = (this.holds.get(key)?.attempts ?? 0) + 1;
    const policy = policyOf(row.type);
    const fields = {
      eventId: row.eventId,
      topic: row.topic,
      type: row.type,
      key: row.key,
      attempt: attempts,
      ...claimedOrigin(row.headers),
      err: error,
    };
    this.metrics.publishFailures.inc({ kind: 'message' });
    if (attempts >= this.settings.config.outbox.maxAttempts && policy !== 'halt') {
      this.holdsReadAt = -1; // the answer may get lost: before the next read the table is asked what is parked
      const moved = await this.table.park(row, policy, error.message, this.settings.instance);
      this.logger.error({ ...fields, policy, rows: moved }, 'the broker refuses an event; it is out of the way in outbox_parked');
      await this.unhold(key);
      if (policy === 'park') this.parked.add(key);
      return;
    }
    const delayMs = backoffMs(attempts, HOLD_BASE_MS, HOLD_MAX_MS);
    this.holds.set(key, { attempts, until: performance.now() + delayMs });
    await this.table.hold(row, attempts, delayMs, error.message);
    if (attempts >= this.settings.config.outbox.maxAttempts)
      this.logger.error(fields, 'the broker refuses an event; its key waits until that is mended');
    else this.logger.warn({ ...fields, delayMs }, 'the broker refused an event; its key waits');
  }

  /** A row of each of these keys is through. */
  private async release(keys: readonly string[]): Promise<void> {
    for (const key of new Set(keys)) if (this.holds.has(key)) await this.unhold(key);
  }

  private async unhold(key: string): Promise<void> {
    this.holds.delete(key);
    await this.table.unhold(key);
  }

  /** The lanes to read now. Whoever had them before may have held or parked keys of theirs: that is read first. */
  private async lanesToRead(): Promise<number[]> {
    const lanes = this.leases.owned();
    if (this.holdsReadAt < this.laneChanges) await this.refreshHolds();
    return lanes;
  }

  /** Keys that must not be read now. A hold that has run out lets its key's first row through; the rest follow once it is done. */
  private heldKeys(): string[] {
    const now = performance.now();
    return [...[...this.holds].filter(([, hold]) => hold.until > now).map(([key]) => key), ...this.parked];
  }

  private async refreshHolds(): Promise<void> {
    const { holdChanges, laneChanges } = this;
    const [held, parked] = await Promise.all([this.table.heldKeys(), this.table.parkedKeys()]);
    const now = performance.now();
    for (const { held: key, attempts, waitMs } of held) if (!this.holds.has(key)) this.holds.set(key, { attempts, until: now + waitMs });
    // What was being held or parked here when it was asked for, or since, may not be in the answer.
    const complete = holdChanges % 2 === 0 && holdChanges === this.holdChanges;
    if (complete) for (const key of this.holds.keys()) if (!held.some((row) => row.held === key)) this.holds.delete(key);
    this.parked = new Set(complete ? parked : [...this.parked, ...parked]);
    if (complete) this.holdsReadAt = Math.max(this.holdsReadAt, laneChanges);
  }

  private async idle(ms = Infinity, deaf = false): Promise<void> {
    if (this.stopping || (this.awake && !deaf)) return;
    const nextHold = Math.min(...[...this.holds.values()].map(({ until }) => until - performance.now()).filter((left) => left > 0), ms);
    await new Promise<void>((resolve) => {
      const timer = Number.isFinite(nextHold) ? setTimeout(resolve, Math.max(1, nextHold)) : undefined;
      this.wakeUp = (): void => {
        if (deaf && !this.stopping) return;
        clearTimeout(timer);
        resolve();
      };
    });
    this.wakeUp = undefined;
  }

  private whenStopping(): Promise<void> {
    return new Promise((resolve) => {
      this.wakeUp = () => {
        if (this.stopping) resolve();
      };
    });
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function faultOf({ eventId, fault }: OutboxRow): MessageRejectedError | undefined {
  return fault === undefined ? undefined : new MessageRejectedError(`event ${eventId} cannot be published: ${fault}`);
}

function policyOf(type: string): PublishFailurePolicy {
  const eventClass = eventClassOf(type);
  return eventClass ? definitionOf(eventClass).onPublishFailure : 'halt';
}

function countsOf(rows: readonly OutboxRow[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { topic } of rows) counts.set(topic, (counts.get(topic) ?? 0) + 1);
  return counts;
}

function stoppedKeys(rows: readonly OutboxRow[], done: readonly OutboxRow[]): Set<string> {
  if (done.length === rows.length) return new Set();
  const through = new Set(done);
  return new Set(rows.filter((row) => !through.has(row)).map(heldKeyOf));
}

function firstOfEachKey(rows: readonly OutboxRow[]): OutboxRow[] {
  return [...new Map([...rows].reverse().map((row) => [heldKeyOf(row), row])).values()];
}

/** A promise as a value, so that it may fail before anybody waits for it. */
function settled<T>(promise: Promise<T>): Promise<{ value?: T; error?: Error }> {
  return promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error: error as Error }),
  );
}
