import { Room } from './room.js';
import { SqsQueueConsumer } from './sqs.queue-consumer.js';
const WAIT_SECONDS = 2;
const MAX_POLLERS = 4;
const UNDELIVERABLE_IDLE_MS = 10_000;
/** Both queues of one subscription. When one of them cannot be read, both end: the caller makes it anew. */ export class SqsSubscription {
  options;
  room;
  consumers;
  down = false;
  closed;
  constructor({ topic }, deliver, options, { queues, ...parts }) {
    this.options = options;
    this.room = new Room(options.maxInFlight);
    const shared = {
      ...parts,
      topic,
      deliver,
      room: this.room,
      onDown: (reason) => this.fail(reason),
    };
    this.consumers = [
      new SqsQueueConsumer({
        ...shared,
        queue: queues.main,
        waitSeconds: Math.max(1, Math.min(WAIT_SECONDS, Math.floor(parts.visibilitySeconds / 2))),
        maxPollers: MAX_POLLERS,
        idleMs: 0,
      }),
      new SqsQueueConsumer({
        ...shared,
        queue: queues.undeliverable,
        undeliverable: 'SQS gave it up: it was received too often and never settled, because each time the process died or lost the broker',
        waitSeconds: 0,
        maxPollers: 1,
        idleMs: UNDELIVERABLE_IDLE_MS,
      }),
    ];
  }
  start() {
    for (const consumer of this.consumers) consumer.start();
  }
  close() {
    this.closed ??= this.end();
    return this.closed;
  }
  async end() {
    this.room.close();
    await Promise.all(this.consumers.map((consumer) => consumer.close()));
  }
  fail(reason) {
    if (this.down || this.closed) return;
    this.down = true;
    for (const consumer of this.consumers) consumer.stop();
    this.options.onDown(reason);
  }
}

//# sourceMappingURL=sqs.subscription.js.map
