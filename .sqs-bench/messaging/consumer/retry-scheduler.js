import { claimedType } from '../event/event-codec.js';
import { describe, dispositionOf } from './retry-policy.js';
const LEASE_MS = 10_000;
const RENEW_MS = 3000;
const MOST_KEYS = 32;
/**
 * Tries parked events again, each key's first one when it is due, and when it is through, what waits behind it,
 * in order. Only whoever leases a key works on it; two that do so after a lost lease are told apart by the
 * epoch, and their effects by the inbox.
 */ export class RetryScheduler {
  parts;
  working = new Map();
  tasks = new Set();
  interrupt = new AbortController();
  claiming;
  again = false;
  stopped = false;
  renewal;
  alarms = new Set();
  constructor(parts) {
    this.parts = parts;
  }
  start() {
    this.renewal = setInterval(() => void this.renew(), RENEW_MS);
    this.wake();
  }
  /** Looks for keys that are due. */ wake() {
    if (this.stopped) return;
    if (this.claiming) {
      this.again = true;
      return;
    }
    this.claiming = this.claim()
      .catch((error) =>
        this.parts.logger.debug(
          {
            err: error,
          },
          'due retries could not be read',
        ),
      )
      .finally(() => {
        this.claiming = undefined;
        if (this.again) {
          this.again = false;
          this.wake();
        }
      });
  }
  /** Looks again after so long; the regular poll is the net below it. */ wakeIn(delayMs) {
    const alarm = setTimeout(() => {
      this.alarms.delete(alarm);
      this.wake();
    }, delayMs + 1);
    this.alarms.add(alarm);
  }
  /** Takes no further key and waits for those in hand; `interruptHandlers` shortens that. */ async stop() {
    this.stopped = true;
    for (const alarm of this.alarms) clearTimeout(alarm);
    await this.claiming;
    await Promise.all(this.tasks);
    clearInterval(this.renewal);
  }
  interruptHandlers() {
    this.interrupt.abort(new Error('the process is shutting down'));
  }
  async claim() {
    const room = MOST_KEYS - this.working.size;
    if (room <= 0) return;
    const keys = await this.parts.parking.claim(this.parts.activeGroups(), room, LEASE_MS);
    for (const key of keys) {
      const id = `${key.group} ${key.topic} ${key.key} ${key.epoch}`;
      this.working.set(id, key);
      const task = this.work(key)
        .catch((error) =>
          this.parts.logger.warn(
            {
              err: error,
              group: key.group,
              topic: key.topic,
              key: key.key,
            },
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
  /** The key's first event, once; a success makes the next one due, and this claims it. */ async work(key) {
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
  async failed(head, attempt, error) {
    const { parking, settings, metrics, logger } = this.parts;
    const disposition = dispositionOf(error, attempt, settings);
    if (disposition.kind === 'retry') {
      if (await parking.failed(head, attempt, disposition.delayMs, disposition.reason)) this.wakeIn(disposition.delayMs);
      return;
    }
    if (!(await parking.exhausted(head, attempt, disposition.reason, describe(error)))) return;
    metrics.deadLettered.inc({
      group: head.group,
    });
    logger.error(
      {
        eventId: head.eventId,
        type: claimedType(head.headers),
        topic: head.topic,
        key: head.key,
        group: head.group,
        attempt,
        reason: disposition.reason,
        error: describe(error),
      },
      'dead letter: a person must replay or discard it',
    );
  }
  async renew() {
    if (this.working.size === 0) return;
    await this.parts.parking.renew([...this.working.values()], LEASE_MS).catch((error) =>
      this.parts.logger.debug(
        {
          err: error,
        },
        'leases of retries could not be renewed',
      ),
    );
  }
}

//# sourceMappingURL=retry-scheduler.js.map
