import kafkajs from 'kafkajs';
import { setTimeout as pause } from 'node:timers/promises';
import { BrokerUnavailableError, TopologyMismatchError } from '../broker-adapter.js';
import { protocolTypeOf } from './kafka.errors.js';
import { MAX_RECORD_BATCH_BYTES } from './kafka.settings.js';
const ASK_TIMEOUT_MS = 15_000;
const LEADERS_TIMEOUT_MS = 20_000;
const LOOK_AGAIN_MS = 100;
/** What the controller answers to a request that only a person can mend. */ const REFUSALS = new Set([
  'INVALID_TOPIC_EXCEPTION',
  'INVALID_PARTITIONS',
  'INVALID_CONFIG',
  'POLICY_VIOLATION',
  'TOPIC_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
]);
/** What brokers answer while they still make a topic. */ const NOT_YET = new Set([
  'UNKNOWN_TOPIC_OR_PARTITION',
  'LEADER_NOT_AVAILABLE',
  'NOT_LEADER_FOR_PARTITION',
  'REPLICA_NOT_AVAILABLE',
]);
/** Makes the topics, or checks them. Consumer groups need no making: a new one starts at the oldest message. */ export class KafkaTopology {
  admin;
  names;
  settings;
  constructor(admin, names, settings) {
    this.admin = admin;
    this.names = names;
    this.settings = settings;
  }
  /** @throws TopologyMismatchError, BrokerUnavailableError */ async open(topology) {
    this.names.assertUsable(topology);
    const wanted = [...new Set([...topology.topics, ...topology.deadLetterTopics])].map((topic) => this.names.topic(topic));
    if (wanted.length === 0) return new Map();
    const existing = new Set(await this.ask('the topics could not be listed', (admin) => admin.listTopics()));
    const missing = wanted.filter((topic) => !existing.has(topic));
    if (missing.length > 0) await this.create(missing);
    const partitions = await this.partitionsOf(wanted);
    const subscribed = new Set(topology.subscriptions.map(({ topic }) => this.names.topic(topic)));
    for (const topic of subscribed) this.assertPartitions(topic, partitions.get(topic));
    await this.checkConfigs(wanted);
    return partitions;
  }
  async create(missing) {
    const { kafka, provision, logger } = this.settings;
    if (!provision) {
      throw new TopologyMismatchError(
        `Kafka has no topic ${missing.map((topic) => `"${topic}"`).join(', ')}, and BROKER_PROVISION=false forbids to create it; create it with ${kafka.partitions} partitions, or give this user the right to see it`,
      );
    }
    const topics = missing.map((topic) => ({
      topic,
      numPartitions: kafka.partitions,
      replicationFactor: kafka.replicationFactor,
      configEntries: [
        {
          name: 'cleanup.policy',
          value: 'delete',
        },
        {
          name: 'min.insync.replicas',
          value: String(kafka.minInsyncReplicas),
        },
        {
          name: 'max.message.bytes',
          value: String(MAX_RECORD_BATCH_BYTES),
        },
      ],
    }));
    await this.ask('the topics could not be created', async (admin) => {
      try {
        await admin.createTopics({
          topics,
          waitForLeaders: false,
          timeout: ASK_TIMEOUT_MS - 1_000,
        });
      } catch (error) {
        throwUnlessExisting(error);
      }
    });
    logger.info(
      {
        topics: missing,
        partitions: kafka.partitions,
        replicationFactor: kafka.replicationFactor,
      },
      'topics created',
    );
  }
  /** Waits until each partition has a leader that answers: a topic is announced before, and its first messages would fail. */ async partitionsOf(
    topics,
  ) {
    const deadline = performance.now() + LEADERS_TIMEOUT_MS;
    for (;;) {
      try {
        return await this.ask('the topics could not be read', async (admin) => {
          const { topics: found } = await admin.fetchTopicMetadata({
            topics: [...topics],
          });
          await Promise.all(topics.map((topic) => admin.fetchTopicOffsets(topic)));
          return new Map(found.map(({ name, partitions }) => [name, partitions.length]));
        });
      } catch (error) {
        const type = protocolTypeOf(error);
        if (type === undefined || !NOT_YET.has(type) || performance.now() > deadline) throw error;
        await pause(LOOK_AGAIN_MS);
      }
    }
  }
  assertPartitions(topic, found) {
    const { partitions } = this.settings.kafka;
    if (found === partitions) return;
    throw new TopologyMismatchError(
      `topic "${topic}" has ${found ?? 'no'} partitions, the configuration says ${partitions}. A key falls into another partition when their number changes, and order is lost: set the configuration to ${found ?? partitions}, or empty the topic, recreate it by hand (nothing here deletes) and start again`,
    );
  }
  async checkConfigs(topics) {
    const { kafka, logger } = this.settings;
    const configs = await this.ask('the configuration of the topics could not be read', (admin) => configsOf(admin, topics)).catch(
      (error) => {
        if (!protocolTypeOf(error)?.endsWith('AUTHORIZATION_FAILED')) throw error;
        logger.info(
          {
            err: error,
          },
          'the configuration of the topics was not checked',
        );
        return new Map();
      },
    );
    for (const [topic, config] of configs) {
      const policy = config.get('cleanup.policy') ?? 'delete';
      if (policy.includes('compact')) {
        throw new TopologyMismatchError(
          `topic "${topic}" has cleanup.policy=${policy}, which drops all but the last event of a key; set it to delete`,
        );
      }
      const limit = Number(config.get('max.message.bytes') ?? MAX_RECORD_BATCH_BYTES);
      if (limit < MAX_RECORD_BATCH_BYTES) {
        throw new TopologyMismatchError(
          `topic "${topic}" has max.message.bytes=${limit}, at least ${MAX_RECORD_BATCH_BYTES} are needed; raise it, on the brokers too`,
        );
      }
      const replicas = Number(config.get('min.insync.replicas') ?? kafka.minInsyncReplicas);
      if (replicas !== kafka.minInsyncReplicas) {
        logger.warn(
          {
            topic,
            found: replicas,
            configured: kafka.minInsyncReplicas,
          },
          'min.insync.replicas of the topic is not what is configured; how safe an acknowledged event is depends on it',
        );
      }
    }
  }
  ask(what, question) {
    return this.admin.ask(what, ASK_TIMEOUT_MS, question);
  }
}
async function configsOf(admin, topics) {
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: topics.map((name) => ({
      type: kafkajs.ConfigResourceTypes.TOPIC,
      name,
      configNames: ['cleanup.policy', 'max.message.bytes', 'min.insync.replicas'],
    })),
  });
  return new Map(
    resources.map(({ resourceName, configEntries }) => [
      resourceName,
      new Map(configEntries.map(({ configName, configValue }) => [configName, configValue])),
    ]),
  );
}
/** Another instance may have been faster; that is as good. */ function throwUnlessExisting(error) {
  const errors = error instanceof kafkajs.KafkaJSAggregateError ? error.errors : [error];
  const failed = errors.filter((each) => protocolTypeOf(each) !== 'TOPIC_ALREADY_EXISTS');
  const first = failed[0];
  if (!first) return;
  const topic = first.topic;
  const what = topic === undefined ? 'a topic' : `topic "${topic}"`;
  const type = protocolTypeOf(first);
  if (type !== undefined && REFUSALS.has(type)) {
    throw new TopologyMismatchError(
      `${what} cannot be created: ${first.message}. Mend the configuration or the rights of this user, or create it by hand and set BROKER_PROVISION=false`,
      {
        cause: first,
      },
    );
  }
  if (type === 'INVALID_REPLICATION_FACTOR') {
    throw new BrokerUnavailableError(
      `${what} cannot be created: ${first.message}; start more brokers, or configure a smaller replication factor`,
      {
        cause: first,
      },
    );
  }
  throw first;
}

//# sourceMappingURL=kafka.topology.js.map
