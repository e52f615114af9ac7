import { createHash } from 'node:crypto';
import { BrokerUnavailableError, MessageRejectedError } from '../broker-adapter.js';
import { pack, sizeOf } from './sqs.message.js';
import { messageGroupOf } from './sqs.names.js';
import { QueueSender } from './sqs.queue-sender.js';
const DEDUPLICATION_ID = /^[\x21-\x7e]{1,128}$/;
/**
 * Publishes a batch to every queue of its topics. An event that one queue took and another one did not is
 * published again to both; whoever has it already recognises it.
 */ export class SqsPublisher {
  connection;
  logger;
  constructor(connection, logger) {
    this.connection = connection;
    this.logger = logger;
  }
  async publish(messages, routes, maxMessageBytes) {
    const outcomes = new Array(messages.length).fill(undefined);
    const perQueue = new Map();
    /** The first refused event of each key and topic: what follows must not be sent before it. */ const refused = new Map();
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
  sendTo(queue, entries) {
    return new QueueSender(queue, this.connection, this.logger).send(entries);
  }
  entryOf(index, message) {
    return {
      index,
      eventId: message.eventId,
      messageGroupId: messageGroupOf(message.key),
      deduplicationId: DEDUPLICATION_ID.test(message.eventId)
        ? message.eventId
        : createHash('sha256').update(message.eventId).digest('hex'),
      size: sizeOf(message),
      packed: pack(message),
    };
  }
  faultOf(entry, queues, maxMessageBytes) {
    if (!queues) return 'the topic is not part of the topology';
    if (entry.size > maxMessageBytes) return `it has ${entry.size} bytes, the limit is ${maxMessageBytes}`;
    const small = queues.find((queue) => entry.packed.bytes > queue.maxMessageBytes);
    return small && `it has ${entry.packed.bytes} bytes as SQS counts, queue "${small.name}" takes ${small.maxMessageBytes}`;
  }
}

//# sourceMappingURL=sqs.publisher.js.map
