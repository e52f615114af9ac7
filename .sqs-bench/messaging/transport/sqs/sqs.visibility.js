import { request } from './sqs.connection.js';
import { MAX_BATCH_ENTRIES } from './sqs.settings.js';
const REQUEST_TIMEOUT_MS = 5_000;
/** What goes back rests so long, so that it does not come round and round. */ const RELEASE_SECONDS = 1;
/** Keeps what is in hand invisible to others for as long as it is, from the moment it was received. */ export class VisibilityKeeper {
  queue;
  visibilitySeconds;
  connection;
  logger;
  groups = new Set();
  visibilityMs;
  timer;
  beating;
  constructor(queue, visibilitySeconds, connection, logger) {
    this.queue = queue;
    this.visibilitySeconds = visibilitySeconds;
    this.connection = connection;
    this.logger = logger;
    this.visibilityMs = visibilitySeconds * 1000;
    this.timer = setInterval(() => this.tick(), this.visibilityMs / 6);
  }
  hold(group) {
    this.groups.add(group);
  }
  drop(group) {
    this.groups.delete(group);
  }
  stop() {
    clearInterval(this.timer);
  }
  /** Gives them back, the last one first: an earlier one must not become visible after a later one. */ async release(deliveries) {
    await this.beating; // its longer time-out must not arrive after ours
    try {
      await this.change([...deliveries].reverse(), RELEASE_SECONDS);
    } catch (error) {
      this.logger.debug(
        {
          queue: this.queue.name,
          err: error,
        },
        'messages could not be given back; their visibility time-out does it',
      );
    }
  }
  tick() {
    const now = performance.now();
    for (const group of this.groups) {
      // A tenth early, because our clock starts when the receive began, and SQS's later, but a message takes time, too.
      if (now > group.visibleAt - this.visibilityMs / 10)
        group.lose(new Error('its visibility could not be prolonged in time; SQS delivers it again'));
    }
    this.beating ??= this.beat(now).finally(() => (this.beating = undefined));
  }
  /** Prolongs what has used up a third of its time. */ async beat(now) {
    const due = [...this.groups].filter(({ isLost, visibleAt }) => !isLost && visibleAt - now < (this.visibilityMs * 2) / 3 + 1);
    const work = [];
    while (due.length > 0) work.push(this.prolong(takeGroups(due), now));
    await Promise.all(work);
  }
  async prolong(groups, now) {
    const owners = new Map(groups.flatMap((group) => group.held.map((delivery) => [delivery, group])));
    if (owners.size === 0) return;
    try {
      const failed = await this.change([...owners.keys()], this.visibilitySeconds);
      for (const group of groups) group.visibleAt = now + this.visibilityMs;
      for (const [delivery, reason] of failed) {
        // What was settled meanwhile is deleted, and has no visibility any more.
        if (delivery.isHeld) owners.get(delivery)?.lose(new Error(`its visibility could not be prolonged: ${reason}`));
      }
    } catch (error) {
      this.logger.warn(
        {
          queue: this.queue.name,
          messages: owners.size,
          err: error,
        },
        'a heartbeat failed; the next one may still be in time',
      );
    }
  }
  async change(deliveries, seconds) {
    const failures = new Map();
    for (let from = 0; from < deliveries.length; from += MAX_BATCH_ENTRIES) {
      const batch = deliveries.slice(from, from + MAX_BATCH_ENTRIES);
      const entries = batch.map(({ receiptHandle }, id) => ({
        Id: String(id),
        ReceiptHandle: receiptHandle,
        VisibilityTimeout: seconds,
      }));
      const { Failed: failed = [] } = await request(REQUEST_TIMEOUT_MS, (options) =>
        this.connection.settling.changeMessageVisibilityBatch(
          {
            QueueUrl: this.queue.url,
            Entries: entries,
          },
          options,
        ),
      );
      for (const { Id: id, Code: code = 'unknown' } of failed) {
        const delivery = batch[Number(id)];
        if (delivery) failures.set(delivery, code);
      }
    }
    return failures;
  }
}
/** As many groups as fit into one request; a group stays together, so that its messages become visible together. */ function takeGroups(
  due,
) {
  let count = 0;
  let messages = 0;
  for (const group of due) {
    messages += group.held.length;
    if (count > 0 && messages > MAX_BATCH_ENTRIES) break;
    count++;
  }
  return due.splice(0, count);
}

//# sourceMappingURL=sqs.visibility.js.map
