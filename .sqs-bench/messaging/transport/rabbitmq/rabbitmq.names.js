import { bucketOf } from '../../event/key-hash.js';
import { TopologyMismatchError } from '../broker-adapter.js';
/** What exchanges and queues are called. WARNING: another name is another queue, and leaves the messages in the old one. */ export class RabbitmqNames {
  namespace;
  queuesPerGroup;
  constructor(namespace, queuesPerGroup) {
    this.namespace = namespace;
    this.queuesPerGroup = queuesPerGroup;
  }
  /** The exchange of a topic, and the queue of the same name of a dead-letter topic. */ topic(topic) {
    return `${this.namespace}.${topic}`;
  }
  queue({ group, topic }, bucket) {
    return `${this.namespace}.${group}.${topic}.${bucket}`;
  }
  /** A subscription's queues, the bucket being the index. */ queues(subscription) {
    return Array.from(
      {
        length: this.queuesPerGroup,
      },
      (_, bucket) => this.queue(subscription, bucket),
    );
  }
  undeliverable({ group, topic }) {
    return `${this.namespace}.${group}.${topic}.undeliverable`;
  }
  /** The bucket comes first, so that a queue is bound by `<bucket>.#` and whoever looks on may bind by type. */ routingKey(key, type) {
    return `${bucketOf(key, this.queuesPerGroup)}.${type}`;
  }
  bindingKey(bucket) {
    return `${bucket}.#`;
  }
  /** @throws TopologyMismatchError when two subscriptions would share a queue, as group "a.b" of "c" and group "a" of "b.c" */ assertDistinct({
    subscriptions,
    deadLetterTopics,
  }) {
    const owners = new Map(deadLetterTopics.map((topic) => [this.topic(topic), `dead-letter topic "${topic}"`]));
    for (const subscription of subscriptions) {
      const owner = `group "${subscription.group}" on topic "${subscription.topic}"`;
      for (const queue of [...this.queues(subscription), this.undeliverable(subscription)]) {
        const other = owners.get(queue);
        if (other !== undefined && other !== owner) {
          throw new TopologyMismatchError(
            `${other} and ${owner} would share the queue "${queue}" and take each other's messages; rename one group`,
          );
        }
        owners.set(queue, owner);
      }
    }
  }
}

//# sourceMappingURL=rabbitmq.names.js.map
