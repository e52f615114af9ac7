import { createHash } from 'node:crypto';
import type { Logger } from '../../../observability/logger.js';
import { BrokerUnavailableError, messageBytes, MessageRejectedError, type OutgoingMessage } from '../broker-adapter.js';
import type { SqsConnection } from './sqs.connection.js';
import { pack } from './sqs.message.js';
import { messageGroupOf } from './sqs.names.js';
import { QueueSender, type Entry } from './sqs.queue-sender.js';
import type { SqsQueue } from './sqs.topology.js';

const DEDUPLICATION_ID = /^[\x21-\x7e]{1,128}$/;

/**
 * Publishes a batch to every queue of its topics. An event that one queue took and another one did not is
 * published again to both; whoever has it already recognises it.
 */
export class SqsPublisher {
  constructor(
    private readonly connection: SqsConnection,
    private readonly logger: Logger,
  ) {}

  async publish(
    messages: readonly OutgoingMessage[],
    routes: ReadonlyMap<string, readonly SqsQueue[]>,
    maxMessageBytes: number,
  ): Promise<readonly (Error | undefined)[]> {
    const outcomes = new Array<Error | undefined>(messages.length).fill(undefined);
    const perQueue = new Map<SqsQueue, Entry[]>();
    /** The first refused event of each key and topic: what follows must not be sent before it. */
    const refused = new Map<string, OutgoingMessage>();
    for (const [index, message] of messages.entries()) {
      const key = JSON.stringify([message.topic, message.key]);
      const entry = this.entryOf(index, message);
      const queues = routes.get(message.topic);
      const before = refused.get(key);
      const reason =
        before !== undefined ? `it follows event ${before.eventId}, which was refused` : this.faultOf(entry, queues, maxMessageBytes);
      if (reason !== undefined) {
        outcomes[index] = new MessageRejectedError(`SQS cannot take event ${message.eventId} on topic "${message.topic}": ${reason}`);
        if (!before) refused.set(key, message);
        continue;
      }
      for (const queue of queues ?? []) {
        const entries = perQueue.get(queue);
        if (entries) entries.push(entry);
        else perQueue.set(queue, [entry]);
      }
    }
    const answers = await Promise.all([...perQueue].map(([queue, entries]) => this.sendTo(queue, entries)));
    for (const failures of answers) {
      // An outage says nothing of the message, so it counts more than another queue's refusal.
      for (const [index, error] of failures) if (!(outcomes[index] instanceof BrokerUnavailableError)) outcomes[index] = error;
    }
    return outcomes;
  }

  private sendTo(queue: SqsQueue, entries: readonly Entry[]): Promise<ReadonlyMap<number, Error>> {
    return new QueueSender(queue, this.connection, this.logger).send(entries);
  }

  private entryOf(index: number, message: OutgoingMessage): Entry {
    return {
      index,
      eventId: message.eventId,
      messageGroupId: messageGroupOf(message.key),
      deduplicationId: DEDUPLICATION_ID.test(message.eventId)
        ? message.eventId
        : createHash('sha256').update(message.eventId).digest('hex'),
      size: messageBytes(message),
      packed: pack(message),
    };
  }

  private faultOf(entry: Entry, queues: readonly SqsQueue[] | undefined, maxMessageBytes: number): string | undefined {
    if (!queues) return 'the topic is not part of the topology';
    if (entry.size > maxMessageBytes) return `it has ${entry.size} bytes, the limit is ${maxMessageBytes}`;
    const small = queues.find((queue) => entry.packed.bytes > queue.maxMessageBytes);
    return small && `it has ${entry.packed.bytes} bytes as SQS counts, queue "${small.name}" takes ${small.maxMessageBytes}`;
  }
}
