import { knownEventDefinitions } from './event/event-definition.js';
/** Where dead letters of a topic are announced. */ export function deadLetterTopicOf(topic) {
  return `${topic}.DLT`;
}
/** All that the event classes and the consumers of this application need at the broker. */ export function topologyOf(subscriptions) {
  const topics = [...new Set([...knownEventDefinitions().map(({ topic }) => topic), ...subscriptions.map(({ topic }) => topic)])].sort();
  const subscribed = new Set(subscriptions.map(({ topic }) => topic));
  return {
    topics,
    subscriptions: subscriptions.map(({ group, topic }) => ({
      group,
      topic,
    })),
    deadLetterTopics: topics.filter((topic) => subscribed.has(topic)).map(deadLetterTopicOf),
  };
}

//# sourceMappingURL=messaging-topology.js.map
