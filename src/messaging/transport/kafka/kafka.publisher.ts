import type { Message, PartitionMetadata, Producer, TopicMessages } from 'kafkajs';
import type { OutgoingMessage } from '../broker-adapter.js';
import { KafkaClient, retryOptions } from './kafka.client.js';
import { unavailable } from './kafka.errors.js';
import { recordOf } from './kafka.message.js';
import type { KafkaNames } from './kafka.names.js';
import { keyPartitioner } from './kafka.partitioner.js';
import { CONNECT_TIMEOUT_MS, type KafkaSettings } from './kafka.settings.js';
import type { Partitions } from './kafka.topology.js';
import { PublishBatch } from './publish-batch.js';
import { within } from '../within.js';

const CLOSE_TIMEOUT_MS = 2_000;
const ALL_IN_SYNC_REPLICAS = -1;

interface Connected {
  readonly client: KafkaClient;
  readonly producer: Producer;
  readonly ready: Promise<void>;
}

/** Publishes batches with the process's one producer, which is connected when needed and given up when in doubt. */
export class KafkaPublisher {
  /** What `open` has found. */
  partitions: Partitions = new Map();
  private readonly partition = keyPartitioner();
  private connected: Connected | undefined;
  private careful = false;

  constructor(
    private readonly settings: KafkaSettings,
    private readonly names: KafkaNames,
  ) {}

  async publish(messages: readonly OutgoingMessage[]): Promise<readonly (Error | undefined)[]> {
    const limitMs = CONNECT_TIMEOUT_MS + 2 * this.settings.kafka.requestTimeoutMs;
    const connected = this.connect();
    try {
      await within(limitMs, 'it cannot be reached', connected.ready);
    } catch (error) {
      this.discard(connected);
      const failure = unavailable('Kafka cannot be published to', error, this.settings.kafka);
      return messages.map(() => failure);
    }
    let deadline = performance.now() + limitMs;
    const batch = new PublishBatch(messages, {
      careful: this.careful,
      isKnown: (topic) => this.partitions.has(this.names.topic(topic)),
      partitionOf: (message) => this.partitionOf(message),
      unavailable: (cause) => unavailable('Kafka has not confirmed the events', cause, this.settings.kafka),
      send: async (some) => {
        await within(deadline - performance.now(), 'no confirmation', this.send(connected.producer, some));
        deadline = performance.now() + limitMs;
      },
    });
    const outcomes = await batch.run();
    this.careful = batch.interrupted;
    if (batch.interrupted) this.discard(connected);
    return outcomes;
  }

  /** Ends in bounded time, whether the broker listens or not. */
  async close(): Promise<void> {
    const { connected } = this;
    this.connected = undefined;
    if (!connected) return;
    try {
      await within(CLOSE_TIMEOUT_MS, 'Kafka did not let the producer go', connected.producer.disconnect());
    } catch (error) {
      this.settings.logger.debug({ err: error }, 'the publishing connection to Kafka ended without a farewell');
    }
    connected.client.destroy(new Error('closed'));
  }

  private async send(producer: Producer, messages: readonly OutgoingMessage[]): Promise<void> {
    const byTopic = new Map<string, Message[]>();
    for (const message of messages) {
      const topic = this.names.topic(message.topic);
      const records = byTopic.get(topic);
      if (records) records.push(recordOf(message));
      else byTopic.set(topic, [recordOf(message)]);
    }
    await producer.sendBatch({
      acks: ALL_IN_SYNC_REPLICAS,
      // Before our own time is up, so that the broker says what it is waiting for.
      timeout: Math.ceil(this.settings.kafka.requestTimeoutMs * 0.8),
      topicMessages: [...byTopic].map(([topic, records]): TopicMessages => ({ topic, messages: records })),
    });
  }

  private partitionOf(message: OutgoingMessage): string {
    const topic = this.names.topic(message.topic);
    const count = this.partitions.get(topic);
    if (count === undefined) return topic;
    return `${topic}/${this.partition({ topic, partitionMetadata: anyPartitions(count), message: recordOf(message) })}`;
  }

  private connect(): Connected {
    if (this.connected) return this.connected;
    const client = new KafkaClient(this.settings);
    const producer = client.kafka.producer({
      createPartitioner: keyPartitioner,
      allowAutoTopicCreation: false,
      maxInFlightRequests: 1,
      // Never more: a retry of kafkajs leaves out the partitions whose leader has moved to a broker that has answered
      // the first try already, and calls the whole a success. The caller tries again.
      retry: retryOptions(0),
    });
    const ready = producer.connect();
    ready.catch(() => undefined); // `publish` awaits it and reports
    this.connected = { client, producer, ready };
    return this.connected;
  }

  private discard(connected: Connected): void {
    if (this.connected === connected) this.connected = undefined;
    connected.client.destroy(new Error('given up after a failure'));
  }
}

/** Only their number counts for a message with a key. */
function anyPartitions(count: number): PartitionMetadata[] {
  return Array.from({ length: count }, (_, partitionId) => ({ partitionId, partitionErrorCode: 0, leader: -1, replicas: [], isr: [] }));
}
