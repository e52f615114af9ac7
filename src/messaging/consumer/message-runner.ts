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
import { attemptEvent, HandlerTimeoutError, type AttemptOutcome } from './attempt.js';
import type { ConsumerGroup, Handler } from './consumer-registry.js';
import type { Inbox } from './inbox.js';
import { KeyedExecutor } from './keyed-executor.js';
import type { ParkableEvent, Parking } from './parking.js';
import { describe, dispositionOf, type RetrySettings } from './retry-policy.js';

const OUTAGE_BASE_MS = 100;
const OUTAGE_MAX_MS = 3000;
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

/**
 * Takes what one subscription delivers to its end: decode, recognise duplicates, wait behind a parked
 * predecessor, handle, and settle. "Settled" is answered only when the event is handled or safe in the database.
 */
export class MessageRunner {
  private readonly executor: KeyedExecutor;
  private readonly interrupt = new AbortController();

  constructor(
    private readonly consumer: ConsumerGroup,
    private readonly parts: RunnerParts,
  ) {
    this.executor = new KeyedExecutor(parts.settings.concurrency);
  }

  /** Never rejects. Deliveries of one key are worked on in the order of the calls. */
  deliver(message: IncomingMessage): Promise<Settlement> {
    const event = this.identify(message);
    return this.executor.run(event.key, async () => {
      const signal = AbortSignal.any([message.signal, this.interrupt.signal]);
      const settlement = await this.settle(event, message.undeliverable, signal);
      if (settlement === 'settled') await failpoint('consumer.beforeAck');
      return settlement;
    });
  }

  /** Cuts handlers short; what they were at is released, and no attempt is counted. */
  interruptHandlers(): void {
    this.interrupt.abort(new Error('the process is shutting down'));
  }

  /** One attempt at an event that is known not to be handled yet; the retries come through here too. */
  async attempt(event: ParkableEvent, attempt: number, signal: AbortSignal): Promise<AttemptOutcome | { kind: 'unhandled' }> {
    const { metrics, logger, settings, database, inbox } = this.parts;
    let envelope: EventEnvelope;
    try {
      envelope = decode(event);
    } catch (error) {
      return { kind: 'failed', error };
    }
    const handler = this.consumer.handlerOf(envelope.type);
    if (!handler) {
      metrics.unhandled.inc({ group: event.group });
      logger.debug(this.fields(event), 'nobody in the group handles this type');
      return { kind: 'unhandled' };
    }
    const end = metrics.handleDuration.startTimer({ group: event.group, topic: event.topic });
    const outcome = await attemptEvent(
      { group: event.group, handler, event: envelope, attempt, timeoutMs: handler.timeoutMs ?? settings.handlerTimeoutMs, signal },
      database,
      inbox,
    );
    if (outcome.kind === 'failed' && (await this.isOutage(outcome.error))) throw outcome.error;
    end({ outcome: outcome.kind });
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
            { ...this.fields(event), err: error },
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
      this.parts.logger.info(this.fields(event), 'parked behind an earlier event of its key');
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
    this.parts.logger.debug(this.fields(event), 'recognised as handled before');
    return 'settled';
  }

  private async giveUp(event: ParkableEvent, attempts: number, reason: string, error: string): Promise<Settlement> {
    await this.parts.parking.deadLetter(event, attempts, reason, error);
    this.parts.metrics.deadLettered.inc({ group: event.group });
    this.parts.logger.error({ ...this.fields(event), attempt: attempts, reason, error }, 'dead letter: a person must replay or discard it');
    return 'settled';
  }

  private report(event: ParkableEvent, envelope: EventEnvelope, handler: Handler, attempt: number, outcome: AttemptOutcome): void {
    const { metrics, logger } = this.parts;
    const fields = { ...this.fields(event), consumer: handler.name, attempt, correlationId: envelope.correlationid };
    metrics.attempts.inc({ group: event.group });
    if (outcome.kind === 'handled') {
      const latencyMs = Date.now() - Date.parse(envelope.time);
      metrics.commitToHandled.observe(Math.max(0, latencyMs) / 1000);
      logger.info({ ...fields, latencyMs }, 'handled');
    } else if (outcome.kind === 'failed') logger.warn({ ...fields, error: describe(outcome.error) }, 'the handler failed');
    else if (outcome.kind === 'interrupted') logger.info(fields, 'the handler was interrupted; the attempt does not count');
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

  private fields(event: ParkableEvent): Record<string, unknown> {
    return { eventId: event.eventId, type: claimedType(event.headers), topic: event.topic, key: event.key, group: event.group };
  }
}

/** A UUID (version 8: by our own rule) out of where the broker keeps the message and what it holds. */
function uuidOf(message: IncomingMessage & WireEvent): string {
  const digest = createHash('sha256').update(message.deliveryId).update('\0').update(message.payload).digest().subarray(0, 16);
  digest[6] = ((digest[6] as number) & 0x0f) | 0x80;
  digest[8] = ((digest[8] as number) & 0x3f) | 0x80;
  return digest.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
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
