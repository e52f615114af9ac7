import { createHash } from 'node:crypto';
const FIFO = '.fifo';
const UNDELIVERABLE = '-undeliverable';
/** SQS allows 80 characters; the queue beside it and the suffix must fit too. */ const MAX_LENGTH =
  80 - FIFO.length - UNDELIVERABLE.length;
const HASH_LENGTH = 10;
const GROUP_ID = /^[\x21-\x7e]{1,128}$/;
/** What queues are called. WARNING: another name is another queue, and leaves the messages in the old one. */ export class SqsNames {
  namespace;
  constructor(namespace) {
    this.namespace = namespace;
  }
  queue({ group, topic }) {
    return this.nameOf([group, topic]) + FIFO;
  }
  /** Where SQS puts what was received too often. */ undeliverable({ group, topic }) {
    return this.nameOf([group, topic]) + UNDELIVERABLE + FIFO;
  }
  /** The queue of a dead-letter topic, which has no groups. */ topic(topic) {
    return this.nameOf([topic]) + FIFO;
  }
  /** Joined by hyphens, a dot being an underscore; a hash is added wherever two different names could come out the same. */ nameOf(parts) {
    const readable = [this.namespace, ...parts].map((part) => part.replaceAll('.', '_').replaceAll(/[^\w-]/g, '_')).join('-');
    if (readable.length <= MAX_LENGTH && this.isUnambiguous(parts)) return readable;
    const hash = createHash('sha256')
      .update(JSON.stringify([this.namespace, ...parts]))
      .digest('hex')
      .slice(0, HASH_LENGTH);
    return `${readable.slice(0, MAX_LENGTH - HASH_LENGTH - 1)}-${hash}`;
  }
  isUnambiguous(parts) {
    const last = parts.at(-1) ?? '';
    return (
      /^[\w-]+$/.test(this.namespace) &&
      parts.every((part) => /^[A-Za-z0-9.]+$/.test(part)) &&
      last !== 'undeliverable' &&
      !/^[0-9a-f]{10}$/.test(last)
    );
  }
}
/** The key itself where SQS can take it, else its hash; the message carries the key as well. */ export function messageGroupOf(key) {
  return GROUP_ID.test(key) ? key : createHash('sha256').update(key).digest('hex');
}

//# sourceMappingURL=sqs.names.js.map
