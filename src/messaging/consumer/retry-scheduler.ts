import type { Database } from '../../database/database.js';
import type { Logger } from '../../observability/logger.js';
import type { Metrics } from '../../observability/metrics.js';
import type { Inbox } from './inbox.js';
import { loggedEvent } from './logged-event.js';
import type { MessageRunner } from './message-runner.js';
import type { ParkedHead, Parking } from './parking.js';
import { describe, dispositionOf, type RetrySettings } from './retry-policy.js';

const LEASE_MS = 10_000;
const RENEW_MS = 3000;
/** More than handlers of first attempts: what fails is often what waits for somebody outside, and holds nothing meanwhile. */
const MOST_KEYS = 128;

type LeasedKey = { group: string; topic: string; key: string; epoch: bigint };

export interface RetrySchedulerParts {
  readonly database: Pick<Database, 'asEvent'>;
  readonly parking: Parking;
  readonly inbox: Inbox;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly settings: RetrySettings;
  readonly runnerOf: (group: string, topic: string) => MessageRunner | undefined;
  /** Groups that are consumed here and not paused. */
  readonly activeGroups: () => readonly string[];
}

/**
 * Tries parked events again, each key's first one when it is due, and when it is through, what waits behind it,
 * in order. Only whoever leases a key works on it; two that do so after a lost lease are told apart by the
 * epoch, and their effects by the inbox.
 */
export class RetryScheduler {
  private readonly working = new Map<string, LeasedKey>();
  private readonly tasks = new Set<Promise<void>>();
  private readonly interrupt = new AbortController();
  private claiming: Promise<void> | undefined;
  private again = false;
  private stopped = false;
  private renewal: NodeJS.Timeout | undefined;
  private readonly alarms = new Set<NodeJS.Timeout>();

  constructor(private readonly parts: RetrySchedulerParts) {}

  start(): void {
    this.renewal = setInterval(() => void this.renew(), RENEW_MS);
    this.wake();
  }

  /** Looks for keys that are due. */
  wake(): void {
    if (this.stopped) return;
    if (this.claiming) {
      this.again = true;
      return;
    }
    this.claiming = this.parts.database
      .asEvent(() => this.claim())
      .catch((error: unknown) => this.parts.logger.debug({ err: error }, 'due retries could not be read'))
      .finally(() => {
        this.claiming = undefined;
        if (this.again) {
          this.again = false;
          this.wake();
        }
      });
  }

  /** Looks again after so long; the regular poll is the net below it. */
  wakeIn(delayMs: number): void {
    const alarm = setTimeout(() => {
      this.alarms.delete(alarm);
      this.wake();
    }, delayMs + 1);
    this.alarms.add(alarm);
  }

  /** Takes no further key and waits for those in hand; `interruptHandlers` shortens that. */
  async stop(): Promise<void> {
    this.stopped = true;
    for (const alarm of this.alarms) clearTimeout(alarm);
    await this.claiming;
    await Promise.all(this.tasks);
    clearInterval(this.renewal);
  }

  interruptHandlers(): void {
    this.interrupt.abort(new Error('the process is shutting down'));
  }

  private async claim(): Promise<void> {
    const room = MOST_KEYS - this.working.size;
    if (room <= 0) return;
    const keys = await this.parts.parking.claim(this.parts.activeGroups(), room, LEASE_MS);
    for (const key of keys) {
      const id = `${key.group} ${key.topic} ${key.key} ${key.epoch}`;
      this.working.set(id, key);
      const task = this.work(key)
        .catch((error: unknown) =>
          this.parts.logger.warn(
            { err: error, group: key.group, topic: key.topic, key: key.key },
            'a retry could not be carried out; its lease will run out',
          ),
        )
        .finally(() => {
          this.working.delete(id);
          this.tasks.delete(task);
          if (keys.length === room) this.wake();
        });
      this.tasks.add(task);
    }
  }

  /** The key's first event, once; a success makes the next one due, and this claims it. */
  private async work(key: LeasedKey): Promise<void> {
    const { parking, inbox } = this.parts;
    const runner = this.parts.runnerOf(key.group, key.topic);
    const head = await parking.head(key);
    if (!head || !runner) return parking.release(key);
    if (await inbox.has(head.group, head.eventId)) {
      await parking.succeeded(head);
      return this.wake();
    }
    const attempt = head.attempts + 1;
    let outcome;
    try {
      outcome = await runner.attempt(head, attempt, this.interrupt.signal);
    } catch (error) {
      await parking.release(key).catch(() => undefined); // the database is away: then the lease runs out by itself
      throw error;
    }
    if (outcome.kind === 'interrupted') return parking.release(key);
    if (outcome.kind !== 'failed') {
      await parking.succeeded(head);
      return this.wake();
    }
    await this.failed(head, attempt, outcome.error);
  }

  private async failed(head: ParkedHead, attempt: number, error: unknown): Promise<void> {
    const { parking, settings, metrics, logger } = this.parts;
    const disposition = dispositionOf(error, attempt, settings);
    if (disposition.kind === 'retry') {
      if (await parking.failed(head, attempt, disposition.delayMs, disposition.reason)) this.wakeIn(disposition.delayMs);
      return;
    }
    if (!(await parking.exhausted(head, attempt, disposition.reason, describe(error)))) return;
    metrics.deadLettered.inc({ group: head.group });
    logger.error(
      {
        ...loggedEvent(head),
        attempt,
        reason: disposition.reason,
        error: describe(error),
      },
      'dead letter: a person must replay or discard it',
    );
  }

  /** Not as an event's handling: a lease must not run out because its renewal stands in line behind what it is for. */
  private async renew(): Promise<void> {
    if (this.working.size === 0) return;
    await this.parts.parking
      .renew([...this.working.values()], LEASE_MS)
      .catch((error: unknown) => this.parts.logger.debug({ err: error }, 'leases of retries could not be renewed'));
  }
}
