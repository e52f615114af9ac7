import { createHash } from 'node:crypto';
import { failpoint } from '../../config/failpoint.js';
import { isDatabaseUnavailable, isTransactionExpired } from '../../database/database-errors.js';
import type { Database } from '../../database/database.js';
import type { Logger } from '../../observability/logger.js';
import type { Metrics } from '../../observability/metrics.js';
import { claimedId, claimedKey, claimedType, decode } from '../event/event-codec.js';
import type { EventEnvelope, WireEvent } from '../event/event-envelope.js';
import { backoffMs } from '../transport/backoff.js';
import type { IncomingMessage, Settlement } from '../transport/broker-adapter.js';
import { attemptEvents, HandlerTimeoutError, type AttemptMeans, type AttemptOutcome } from './attempt.js';
import type { ConsumerGroup, Handler } from './consumer-registry.js';
import type { Inbox } from './inbox.js';
import { KeyedBatches } from './keyed-batches.js';
import { KeyedExecutor } from './keyed-executor.js';
import { loggedEvent } from './logged-event.js';
import { groupedOnce, singleOnce, type Once } from './once.js';
import type { ParkableEvent, Parking } from './parking.js';
import { describe, dispositionOf, type RetrySettings } from './retry-policy.js';

const OUTAGE_BASE_MS = 100;
const OUTAGE_MAX_MS = 3000;
const MOST_IN_A_BATCH = 500;
/** One is gathered and decoded while the other is with the database. */
const BATCHES_AT_ONCE = 2;
const ANSWER_MS = 1000;

export interface RunnerSettings extends RetrySettings {
  readonly handlerTimeoutMs: number;
  readonly concurrency: number;
}

export interface RunnerParts {
  readonly database: Database;
  readonly inbox: Inbox;
  readonly parking: Parking;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly settings: RunnerSettings;
  /** A key was parked and is due after so long. */
  readonly onParked: (delayMs: number) => void;
}

/** A delivery that waits to be worked on, and whom to tell. */
interface Delivery {
  readonly key: string;
  readonly event: ParkableEvent;
  readonly message: IncomingMessage;
  readonly settled: (settlement: Settlement) => void;
}

/**
 * Takes what one subscription delivers to its end: decode, recognise duplicates, wait behind a parked
 * predecessor, handle, and settle. "Settled" is answered only when the event is handled or safe in the database.
 */
export class MessageRunner {
  private readonly executor: KeyedExecutor;
  private readonly interrupt = new AbortController();
  private readonly batches: KeyedBatches<Delivery> | undefined;
  private readonly single: Once;
  private readonly grouped: Once;

  constructor(
    private readonly consumer: ConsumerGroup,
    private readonly parts: RunnerParts,
  ) {
    this.executor = new KeyedExecutor(parts.settings.concurrency);
    this.single = singleOnce(parts.database, parts.inbox, consumer.group);
    this.grouped = groupedOnce(parts.database, parts.inbox, consumer.group, ({ name }) =>
      parts.logger.info(
        { group: consumer.group, consumer: name },
        'asks more than one statement of raw SQL in its transaction: its events take turns in their groups',
      ),
    );
    if (consumer.takesBatches)
      this.batches = new KeyedBatches({
        most: MOST_IN_A_BATCH,
        atOnce: BATCHES_AT_ONCE,
        kindOf: ({ event }) => consumer.handlerOf(claimedType(event.headers))?.handleBatch,
        work: (deliveries, done) => this.settleAll(deliveries, done),
      });
  }

  /** Never rejects. Deliveries of one key are worked on in the order of the calls. */
  deliver(message: IncomingMessage): Promise<Settlement> {
    const event = this.identify(message);
    const { batches } = this;
    if (batches) return new Promise((settled) => batches.add({ key: event.key, event, message, settled }));
    return this.deliverAlone(event, message);
  }

  private deliverAlone(event: ParkableEvent, message: IncomingMessage): Promise<Settlement> {
    return this.executor.run(event.key, async () => {
      const cut = cutWith([message.signal, this.interrupt.signal]);
      const settlement = await this.settle(event, message.undeliverable, cut.signal);
      cut.release();
      if (settlement === 'settled') await failpoint('consumer.beforeAck');
      return settlement;
    });
  }

  /**
   * Settles a batch: together what can be handled together, the rest one by one, as without batches. A batch that
   * fails, is cut short or meets an outage had no effect and counts as no attempt, so going one by one after it gives
   * each event the retries, the parking and the dead letter it would have had. A key is in one of the two parts as a
   * whole, so its order holds.
   */
  private async settleAll(deliveries: readonly Delivery[], done: (delivery: Delivery) => void): Promise<void> {
    const together = await this.handleTogether(deliveries).catch((error: unknown) => {
      this.parts.logger.debug({ group: this.consumer.group, err: error }, 'a batch is handled one by one: the database cannot be used');
      return new Set<Delivery>();
    });
    if (together.size > 0) await failpoint('consumer.beforeAck');
    for (const delivery of deliveries) {
      // Not awaited: a slow event must hold up its own key only, not the next batch.
      void this.conclude(delivery, together.has(delivery)).finally(() => done(delivery));
    }
  }

  private async conclude({ event, message, settled }: Delivery, handled: boolean): Promise<void> {
    settled(handled ? 'settled' : await this.deliverAlone(event, message));
  }

  /** Answers the deliveries whose events have been handled. */
  private async handleTogether(deliveries: readonly Delivery[]): Promise<ReadonlySet<Delivery>> {
    const { inbox, settings, metrics, logger } = this.parts;
    const none: ReadonlySet<Delivery> = new Set();
    const handler = this.consumer.handlerOf(claimedType(deliveries[0]?.event.headers ?? {}));
    if (!handler?.handleBatch || deliveries.length === 1) return none;
    const standings = await Promise.all(deliveries.map(({ event }) => inbox.standing(event.group, event.topic, event.key, event.eventId)));
    const apart = new Set<string>();
    const seen = new Set<string>();
    const decoded = deliveries.flatMap((delivery, index) => {
      const { event, key, message } = delivery;
      const standing = standings[index];
      if (standing?.done || standing?.held || message.undeliverable !== undefined || message.signal.aborted || seen.has(event.eventId))
        apart.add(key);
      seen.add(event.eventId);
      try {
        return [{ delivery, envelope: decode(event) }];
      } catch {
        apart.add(key); // by itself it becomes a dead letter
        return [];
      }
    });
    const batch = decoded.filter(({ delivery }) => !apart.has(delivery.key));
    const [first, ...others] = batch.map(({ envelope }) => envelope);
    if (first === undefined || others.length === 0) return none;
    const end = metrics.handleDuration.startTimer({ group: this.consumer.group, topic: this.consumer.topic });
    const events = [first, ...others] as const;
    const timeoutMs = handler.timeoutMs ?? settings.handlerTimeoutMs;
    const cut = cutWith([this.interrupt.signal, ...batch.map(({ delivery }) => delivery.message.signal)]);
    const outcome = await attemptEvents(
      { group: this.consumer.group, handler, events, attempt: 1, timeoutMs, signal: cut.signal },
      this.means('single'),
    );
    cut.release();
    end({ outcome: outcome.kind });
    if (outcome.kind !== 'handled') {
      const { group, topic } = this.consumer;
      const fields = { group, topic, consumer: handler.name, events: events.length, outcome: outcome.kind };
      logger.info(
        { ...fields, ...(outcome.kind === 'failed' && { error: describe(outcome.error) }) },
        'a batch was not handled; its events go one by one',
      );
      return none;
    }
    metrics.attempts.inc({ group: this.consumer.group }, batch.length);
    for (const { delivery, envelope } of batch) this.report(delivery.event, envelope, handler, 1, outcome);
    return new Set(batch.map(({ delivery }) => delivery));
  }

  private means(commit: Handler['commit']): AttemptMeans {
    const { database, inbox } = this.parts;
    return { database, inbox, onceIn: commit === 'grouped' ? this.grouped : this.single };
  }

  /** Cuts handlers short; what they were at is released, and no attempt is counted. */
  interruptHandlers(): void {
    this.interrupt.abort(new Error('the process is shutting down'));
  }

  /** One attempt at an event that is known not to be handled yet; the retries come through here too. */
  async attempt(event: ParkableEvent, attempt: number, signal: AbortSignal): Promise<AttemptOutcome | { kind: 'unhandled' }> {
    const { metrics, logger, settings } = this.parts;
    let envelope: EventEnvelope;
    try {
      envelope = decode(event);
    } catch (error) {
      return { kind: 'failed', error };
    }
    const handler = this.consumer.handlerOf(envelope.type);
    if (!handler) {
      metrics.unhandled.inc({ group: event.group });
      logger.debug(loggedEvent(event), 'nobody in the group handles this type');
      return { kind: 'unhandled' };
    }
    const end = metrics.handleDuration.startTimer({ group: event.group, topic: event.topic });
    const timeoutMs = handler.timeoutMs ?? settings.handlerTimeoutMs;
    const outcome = await attemptEvents(
      { group: event.group, handler, events: [envelope], attempt, timeoutMs, signal },
      this.means(handler.commit),
    );
    if (outcome.kind === 'failed' && (await this.isOutage(outcome.error))) throw outcome.error;
    end({ outcome: outcome.kind });
    metrics.attempts.inc({ group: event.group });
    this.report(event, envelope, handler, attempt, outcome);
    return outcome;
  }

  /** A handler and its transaction also run out of time because the database says nothing any more. */
  private async isOutage(error: unknown): Promise<boolean> {
    if (isDatabaseUnavailable(error)) return true;
    const ranOutOfTime = error instanceof HandlerTimeoutError || isTransactionExpired(error);
    return ranOutOfTime && !(await this.parts.database.answers(ANSWER_MS));
  }

  /** An outage of the database is waited out here: it is no failure of the event. */
  private async settle(event: ParkableEvent, undeliverable: string | undefined, signal: AbortSignal): Promise<Settlement> {
    for (let outages = 1; ; outages++) {
      if (signal.aborted) return 'release';
      try {
        return await this.take(event, undeliverable, signal);
      } catch (error) {
        if (outages === 1 || outages % 20 === 0) {
          this.parts.logger.warn(
            { ...loggedEvent(event), err: error },
            'the event waits: the database cannot be used; no attempt is counted',
          );
        }
        await pause(backoffMs(outages, OUTAGE_BASE_MS, OUTAGE_MAX_MS), signal);
      }
    }
  }

  private async take(event: ParkableEvent, undeliverable: string | undefined, signal: AbortSignal): Promise<Settlement> {
    const { inbox, parking, metrics, settings } = this.parts;
    const standing = await inbox.standing(event.group, event.topic, event.key, event.eventId);
    if (standing.done) return this.recognised(event);
    if (undeliverable !== undefined) return this.giveUp(event, 1, 'undeliverable', undeliverable);
    if (standing.held && (await parking.parkBehind(event))) {
      this.parts.logger.info(loggedEvent(event), 'parked behind an earlier event of its key');
      return 'settled';
    }
    const outcome = await this.attempt(event, 1, signal);
    if (outcome.kind === 'interrupted') return 'release';
    if (outcome.kind === 'duplicate') return this.recognised(event);
    if (outcome.kind !== 'failed') return 'settled';
    const disposition = dispositionOf(outcome.error, 1, settings);
    if (disposition.kind === 'dead-letter') return this.giveUp(event, 1, disposition.reason, describe(outcome.error));
    await parking.park(event, 1, disposition.delayMs, disposition.reason);
    metrics.parkedTotal.inc({ group: event.group });
    this.parts.onParked(disposition.delayMs);
    return 'settled';
  }

  private recognised(event: ParkableEvent): Settlement {
    this.parts.metrics.inboxDuplicates.inc({ group: event.group });
    this.parts.logger.debug(loggedEvent(event), 'recognised as handled before');
    return 'settled';
  }

  private async giveUp(event: ParkableEvent, attempts: number, reason: string, error: string): Promise<Settlement> {
    await this.parts.parking.deadLetter(event, attempts, reason, error);
    this.parts.metrics.deadLettered.inc({ group: event.group });
    this.parts.logger.error({ ...loggedEvent(event), attempt: attempts, reason, error }, 'dead letter: a person must replay or discard it');
    return 'settled';
  }

  private report(event: ParkableEvent, envelope: EventEnvelope, handler: Handler, attempt: number, outcome: AttemptOutcome): void {
    const { metrics, logger } = this.parts;
    const fields = (): object => ({ ...loggedEvent(event), consumer: handler.name, attempt });
    if (outcome.kind === 'handled') {
      const latencyMs = Date.now() - Date.parse(envelope.time);
      metrics.commitToHandled.observe(Math.max(0, latencyMs) / 1000);
      if (logger.isLevelEnabled('info')) logger.info({ ...fields(), latencyMs }, 'handled');
    } else if (outcome.kind === 'failed') logger.warn({ ...fields(), error: describe(outcome.error) }, 'the handler failed');
    else if (outcome.kind === 'interrupted') logger.info(fields(), 'the handler was interrupted; the attempt does not count');
  }

  /** Names the event even if its bytes are no event at all, and the same at each redelivery. */
  private identify(message: IncomingMessage): ParkableEvent {
    const eventId = claimedId(message.headers) ?? uuidOf(message);
    const handler = this.consumer.handlerOf(claimedType(message.headers));
    const key = claimedKey(message.headers) ?? (message.key === null ? undefined : claimedKey({ ce_partitionkey: message.key }));
    return {
      group: this.consumer.group,
      topic: this.consumer.topic,
      key: handler?.order === 'none' || key === undefined ? eventId : key,
      eventId,
      headers: message.headers,
      payload: message.payload,
    };
  }
}

/** A UUID (version 8: by our own rule) out of where the broker keeps the message and what it holds. */
function uuidOf(message: IncomingMessage & WireEvent): string {
  const digest = createHash('sha256').update(message.deliveryId).update('\0').update(message.payload).digest().subarray(0, 16);
  digest[6] = ((digest[6] as number) & 0x0f) | 0x80;
  digest[8] = ((digest[8] as number) & 0x3f) | 0x80;
  return digest.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** A signal that is aborted with the first of these; `release` lets go of them, which AbortSignal.any leaves to the garbage collector. */
function cutWith(signals: readonly AbortSignal[]): { signal: AbortSignal; release: () => void } {
  const cut = new AbortController();
  const onAbort = ({ target }: Event): void => cut.abort((target as AbortSignal).reason);
  for (const signal of signals) {
    if (signal.aborted) cut.abort(signal.reason);
    else signal.addEventListener('abort', onAbort, { once: true });
  }
  return {
    signal: cut.signal,
    release: () => {
      for (const signal of signals) signal.removeEventListener('abort', onAbort);
    },
  };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
  });
}
