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
function _ts_param(paramIndex, decorator) {
  return function (target, key) {
    decorator(target, key, paramIndex);
  };
}
import { Inject, Injectable } from '@nestjs/common';
import { DatabasePool } from '../../database/database-pool.js';
import { Notifications } from '../../database/notifications.js';
import { LOGGER } from '../../observability/logger.js';
import { Metrics } from '../../observability/metrics.js';
import { eventClassOf, definitionOf } from '../event/event-definition.js';
import { LaneLeases } from '../lane/lane-leases.js';
import { MessagingSettings } from '../messaging-settings.js';
import { MessageRejectedError, movesOutbox } from '../transport/broker-adapter.js';
import { backoffMs } from '../transport/backoff.js';
import { BrokerConnection } from '../transport/broker-connection.js';
import { OUTBOX_SUBJECT } from './outbox.js';
import { heldKeyOf, OutboxTable } from './outbox-table.js';
import { failpoint } from '../../config/failpoint.js';
const CIRCUIT_BASE_MS = 100;
const CIRCUIT_MAX_MS = 5000;
const HOLD_BASE_MS = 500;
const HOLD_MAX_MS = 60_000;
export class Relay {
  notifications;
  broker;
  settings;
  metrics;
  logger;
  table;
  leases;
  holds = new Map();
  parked = new Set();
  topics = [];
  running;
  stopping = false;
  awake = false;
  wakeUp;
  unlisten;
  circuitFailures = 0;
  constructor(database, notifications, broker, settings, metrics, logger) {
    this.notifications = notifications;
    this.broker = broker;
    this.settings = settings;
    this.metrics = metrics;
    this.logger = logger;
    this.table = new OutboxTable(database);
    this.leases = new LaneLeases(database, {
      pool: 'outbox',
      lanes: settings.lanes,
      owner: settings.instance,
      leaseMs: settings.config.outbox.leaseMs,
      logger,
      onChange: () => {
        void this.refreshHolds().finally(() => this.wake());
      },
    });
  }
  /** Begins to drain as soon as the broker's topology exists. */ start(topics) {
    this.topics = topics;
    this.unlisten = this.notifications.listen(OUTBOX_SUBJECT, () => this.wake());
    this.running = this.run();
  }
  /** There may be rows: look now. Never rejects, costs nothing when it is busy already. */ wake() {
    this.awake = true;
    this.wakeUp?.();
  }
  /** The safety net's look: also at keys on hold and at parked ones. */ async poll() {
    if (!this.running || this.stopping) return;
    await this.refreshHolds();
    if (this.parked.size > 0) await this.table.followParked(this.settings.instance);
    this.wake();
  }
  /** Ends the batch in hand, then gives the lanes back. */ async stop() {
    this.stopping = true;
    this.unlisten?.();
    this.wake();
    await this.running;
    if (this.running) await this.leases.stop();
  }
  async run() {
    await Promise.race([this.broker.whenOpen(), this.whenStopping()]);
    if (this.stopping) return;
    await this.leases.start();
    while (!this.stopping) {
      this.awake = false;
      try {
        const busy = movesOutbox(this.broker.adapter) ? await this.move() : await this.drain();
        this.circuitFailures = 0;
        if (!busy) await this.idle();
      } catch (error) {
        this.circuitFailures++;
        if (this.circuitFailures === 1)
          this.logger.warn(
            {
              err: error,
            },
            'publishing stopped; the outbox keeps the events',
          );
        await this.idle(backoffMs(this.circuitFailures, CIRCUIT_BASE_MS, CIRCUIT_MAX_MS), true);
      }
    }
  }
  /** The postgres broker: rows go into the queues inside the database. */ async move() {
    const lanes = this.leases.owned();
    const adapter = this.broker.adapter;
    if (lanes.length === 0 || !movesOutbox(adapter)) return false;
    const limit = this.settings.config.outbox.batchSize;
    const end = this.metrics.publishDuration.startTimer();
    const { moved } = await adapter.moveOutbox({
      lanes,
      topics: this.topics,
      heldKeys: this.heldKeys(),
      limit,
    });
    if (moved > 0) end();
    if (moved >= limit) return true;
    const undeclared = await this.table.readUndeclared(lanes, this.topics, this.heldKeys());
    for (const row of firstOfEachKey(undeclared)) await this.refuse(row, this.undeclared(row));
    return moved > 0 || undeclared.length > 0;
  }
  /**
   * Reads the next batch while this one is being published, and deletes the last one meanwhile.
   * @returns whether there was anything to do
   * @throws Error the broker or the database could not be reached; everything unproved is still in the outbox
   */ async drain() {
    const { batchSize } = this.settings.config.outbox;
    const read = (inHand) => {
      const lanes = this.leases.owned();
      if (lanes.length === 0) return Promise.resolve([]);
      return this.table.read(
        lanes,
        batchSize,
        inHand.map(({ id }) => id),
        this.heldKeys(),
      );
    };
    let rows = await read([]);
    if (rows.length === 0) return false;
    let deleting = Promise.resolve();
    let deletingRows = [];
    try {
      while (rows.length > 0) {
        await failpoint('relay.afterRead');
        const next = settled(read([...deletingRows, ...rows]));
        const { done, refused, trouble } = await this.publish(rows);
        await failpoint('relay.afterPublish');
        await deleting;
        await failpoint('relay.beforeDelete');
        deleting = this.table.delete(done);
        deleting.catch(() => undefined); // awaited below or in the next round; this only marks it as handled
        deletingRows = done;
        for (const { row, error } of refused) await this.refuse(row, error);
        await this.release(done);
        const ahead = await next;
        if (trouble) throw trouble;
        if (ahead.error) throw ahead.error;
        if (this.stopping) break;
        // A key that has just failed must not be overtaken by what was read ahead.
        rows = (ahead.value ?? []).filter((row) => !this.holds.has(heldKeyOf(row)));
      }
    } finally {
      await deleting;
    }
    return true;
  }
  async publish(rows) {
    const done = [];
    const refused = [];
    const declared = [];
    const failed = new Set();
    for (const row of rows) {
      if (failed.has(heldKeyOf(row))) continue;
      if (this.topics.includes(row.topic)) declared.push(row);
      else {
        failed.add(heldKeyOf(row));
        refused.push({
          row,
          error: this.undeclared(row),
        });
      }
    }
    if (declared.length === 0)
      return {
        done,
        refused,
        trouble: undefined,
      };
    const end = this.metrics.publishDuration.startTimer();
    const outcomes = await this.broker.adapter.publish(declared).catch((error) => declared.map(() => error));
    end();
    let trouble;
    declared.forEach((row, index) => {
      const error = outcomes[index];
      const key = heldKeyOf(row);
      if (!error) {
        done.push(row);
        return;
      }
      if (!(error instanceof MessageRejectedError)) {
        trouble ??= error;
        this.metrics.publishFailures.inc({
          kind: 'transport',
        });
      } else if (!failed.has(key))
        refused.push({
          row,
          error,
        });
      failed.add(key);
    });
    for (const row of done)
      this.metrics.published.inc({
        topic: row.topic,
      });
    return {
      done,
      refused,
      trouble,
    };
  }
  undeclared(row) {
    return new MessageRejectedError(`topic "${row.topic}" is declared by no event class and no consumer of this application`);
  }
  /** Holds the key back; at the limit does what the topic's policy says. */ async refuse(row, error) {
    const key = heldKeyOf(row);
    const attempts = (this.holds.get(key)?.attempts ?? 0) + 1;
    const policy = policyOf(row.type);
    const fields = {
      eventId: row.eventId,
      topic: row.topic,
      type: row.type,
      key: row.key,
      attempt: attempts,
      err: error,
    };
    this.metrics.publishFailures.inc({
      kind: 'message',
    });
    if (attempts >= this.settings.config.outbox.maxAttempts && policy !== 'halt') {
      const moved = await this.table.park(row, policy, error.message, this.settings.instance);
      this.logger.error(
        {
          ...fields,
          policy,
          rows: moved,
        },
        'the broker refuses an event; it is out of the way in outbox_parked',
      );
      await this.unhold(key);
      if (policy === 'park') this.parked.add(key);
      return;
    }
    const delayMs = backoffMs(attempts, HOLD_BASE_MS, HOLD_MAX_MS);
    this.holds.set(key, {
      attempts,
      until: performance.now() + delayMs,
    });
    await this.table.hold(row, attempts, delayMs, error.message);
    if (attempts >= this.settings.config.outbox.maxAttempts)
      this.logger.error(fields, 'the broker refuses an event; its key waits until that is mended');
    else
      this.logger.warn(
        {
          ...fields,
          delayMs,
        },
        'the broker refused an event; its key waits',
      );
  }
  async release(done) {
    if (this.holds.size === 0) return;
    for (const key of new Set(done.map(heldKeyOf))) if (this.holds.has(key)) await this.unhold(key);
  }
  async unhold(key) {
    this.holds.delete(key);
    await this.table.unhold(key);
  }
  /** Keys that must not be read now. A hold that has run out lets its key's first row through; the rest follow once it is done. */ heldKeys() {
    const now = performance.now();
    return [...[...this.holds].filter(([, hold]) => hold.until > now).map(([key]) => key), ...this.parked];
  }
  async refreshHolds() {
    const [held, parked] = await Promise.all([this.table.heldKeys(), this.table.parkedKeys()]);
    const now = performance.now();
    for (const { held: key, attempts, waitMs } of held)
      if (!this.holds.has(key))
        this.holds.set(key, {
          attempts,
          until: now + waitMs,
        });
    for (const key of this.holds.keys()) if (!held.some((row) => row.held === key)) this.holds.delete(key);
    this.parked = new Set(parked);
  }
  async idle(ms = Infinity, deaf = false) {
    if (this.stopping || (this.awake && !deaf)) return;
    const nextHold = Math.min(...[...this.holds.values()].map(({ until }) => until - performance.now()).filter((left) => left > 0), ms);
    await new Promise((resolve) => {
      const timer = Number.isFinite(nextHold) ? setTimeout(resolve, Math.max(1, nextHold)) : undefined;
      this.wakeUp = () => {
        if (deaf && !this.stopping) return;
        clearTimeout(timer);
        resolve();
      };
    });
    this.wakeUp = undefined;
  }
  whenStopping() {
    return new Promise((resolve) => {
      this.wakeUp = () => {
        if (this.stopping) resolve();
      };
    });
  }
}
Relay = _ts_decorate(
  [
    Injectable(),
    _ts_param(5, Inject(LOGGER)),
    _ts_metadata('design:type', Function),
    _ts_metadata('design:paramtypes', [
      typeof DatabasePool === 'undefined' ? Object : DatabasePool,
      typeof Notifications === 'undefined' ? Object : Notifications,
      typeof BrokerConnection === 'undefined' ? Object : BrokerConnection,
      typeof MessagingSettings === 'undefined' ? Object : MessagingSettings,
      typeof Metrics === 'undefined' ? Object : Metrics,
      typeof Logger === 'undefined' ? Object : Logger,
    ]),
  ],
  Relay,
);
function policyOf(type) {
  const eventClass = eventClassOf(type);
  return eventClass ? definitionOf(eventClass).onPublishFailure : 'halt';
}
function firstOfEachKey(rows) {
  return [...new Map([...rows].reverse().map((row) => [heldKeyOf(row), row])).values()];
}
/** A promise as a value, so that it may fail before anybody waits for it. */ function settled(promise) {
  return promise.then(
    (value) => ({
      value,
    }),
    (error) => ({
      error: error,
    }),
  );
}

//# sourceMappingURL=relay.js.map
