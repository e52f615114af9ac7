import type { Logger } from '../../../observability/logger.js';
import type { ActiveSubscription, Deliver, SubscribeOptions, Subscription } from '../broker-adapter.js';
import { Room } from './room.js';
import type { SqsConnection } from './sqs.connection.js';
import { SqsQueueConsumer } from './sqs.queue-consumer.js';
import type { SubscriptionQueues } from './sqs.topology.js';

const WAIT_SECONDS = 2;
const MAX_POLLERS = 4;
const UNDELIVERABLE_IDLE_MS = 10_000;

export interface SubscriptionParts {
  readonly queues: SubscriptionQueues;
  readonly visibilitySeconds: number;
  readonly maxReceiveCount: number;
  readonly connection: SqsConnection;
  readonly logger: Logger;
}

/** Both queues of one subscription. When one of them cannot be read, both end: the caller makes it anew. */
export class SqsSubscription implements ActiveSubscription {
  private readonly room: Room;
  private readonly consumers: readonly SqsQueueConsumer[];
  private down = false;
  private closed: Promise<void> | undefined;

  constructor(
    { topic }: Subscription,
    deliver: Deliver,
    private readonly options: SubscribeOptions,
    { queues, ...parts }: SubscriptionParts,
  ) {
    this.room = new Room(options.maxInFlight);
    const shared = { ...parts, topic, deliver, room: this.room, onDown: (reason: Error) => this.fail(reason) };
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

  start(): void {
    for (const consumer of this.consumers) consumer.start();
  }

  close(): Promise<void> {
    this.closed ??= this.end();
    return this.closed;
  }

  private async end(): Promise<void> {
    this.room.close();
    await Promise.all(this.consumers.map((consumer) => consumer.close()));
  }

  private fail(reason: Error): void {
    if (this.down || this.closed) return;
    this.down = true;
    for (const consumer of this.consumers) consumer.stop();
    this.options.onDown(reason);
  }
}
