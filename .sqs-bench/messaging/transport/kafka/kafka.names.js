import { TopologyMismatchError } from '../broker-adapter.js';
const LEGAL = /^[A-Za-z0-9._-]{1,249}$/;
/** What topics and consumer groups are called. WARNING: another name is another topic, or a group that starts at the oldest message again. */ export class KafkaNames {
  namespace;
  constructor(namespace) {
    this.namespace = namespace;
  }
  topic(topic) {
    return `${this.namespace}.${topic}`;
  }
  /** One a subscription: in kafkajs, members of a group that have different topics starve. */ group({ group, topic }) {
    return `${this.namespace}.${group}.${topic}`;
  }
  /** @throws TopologyMismatchError for a name that Kafka cannot have, or one that two subscriptions would share, as group "a.b" of "c" and group "a" of "b.c" */ assertUsable({
    topics,
    deadLetterTopics,
    subscriptions,
  }) {
    for (const topic of [...topics, ...deadLetterTopics]) {
      if (!LEGAL.test(this.topic(topic))) {
        throw new TopologyMismatchError(
          `Kafka cannot have a topic "${this.topic(topic)}": a name is 1 to 249 letters, digits, dots, dashes and underscores; rename the topic or shorten BROKER_NAMESPACE`,
        );
      }
    }
    const owners = new Map();
    for (const subscription of subscriptions) {
      const name = this.group(subscription);
      const other = owners.get(name);
      if (other && (other.group !== subscription.group || other.topic !== subscription.topic)) {
        throw new TopologyMismatchError(
          `group "${other.group}" on topic "${other.topic}" and group "${subscription.group}" on topic "${subscription.topic}" would share the consumer group "${name}" and take each other's messages; rename one group`,
        );
      }
      owners.set(name, subscription);
    }
  }
}

//# sourceMappingURL=kafka.names.js.map
