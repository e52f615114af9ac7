import { afterEach, describe, expect, it, jest } from '@jest/globals';
import kafkajs from 'kafkajs';
import type { Producer, ProducerBatch, ProducerConfig } from 'kafkajs';
import { readConfig } from '../../../config/read-config.js';
import { createLogger } from '../../../observability/create-logger.js';
import { BrokerUnavailableError, type OutgoingMessage } from '../broker-adapter.js';
import { KafkaNames } from './kafka.names.js';
import { KafkaPublisher } from './kafka.publisher.js';

const config = readConfig({ BROKER: 'kafka', KAFKA_BROKERS: '127.0.0.1:1', LOG_LEVEL: 'silent' });
const { kafka } = config.broker;

function message(key: string): OutgoingMessage {
  return { eventId: key, topic: 'a.thing', type: 'a.thing.happened', key, headers: {}, payload: Buffer.from('{}') } as OutgoingMessage;
}

/** A publisher over a producer that does as the test says. */
function publisherOver(sendBatch: (batch: ProducerBatch) => Promise<never[]>): { publisher: KafkaPublisher; made: ProducerConfig[] } {
  const made: ProducerConfig[] = [];
  jest.spyOn(kafkajs.Kafka.prototype, 'producer').mockImplementation((options = {}) => {
    made.push(options);
    return { connect: () => Promise.resolve(), disconnect: () => Promise.resolve(), sendBatch } as unknown as Producer;
  });
  const publisher = new KafkaPublisher(
    { kafka, namespace: 'n', provision: true, instance: 'test', logger: createLogger(config) },
    new KafkaNames('n'),
  );
  publisher.partitions = new Map([['n.a.thing', 4]]);
  return { publisher, made };
}

describe('publishing a batch to Kafka', () => {
  afterEach(() => void jest.restoreAllMocks());

  it('wants the word of all replicas in sync, given in time, and leaves retries and topics to us', async () => {
    const batches: ProducerBatch[] = [];
    const { publisher, made } = publisherOver((batch) => {
      batches.push(batch);
      return Promise.resolve([]);
    });
    expect(await publisher.publish([message('k1'), message('k2')])).toEqual([undefined, undefined]);
    expect(batches).toHaveLength(1);
    expect(batches[0]).toMatchObject({ acks: -1 });
    expect(batches[0]?.timeout).toBeLessThan(kafka.requestTimeoutMs);
    expect(batches[0]?.topicMessages).toEqual([
      { topic: 'n.a.thing', messages: [expect.objectContaining({ key: 'k1' }), expect.objectContaining({ key: 'k2' })] },
    ]);
    expect(made).toEqual([
      expect.objectContaining({ allowAutoTopicCreation: false, maxInFlightRequests: 1, retry: expect.objectContaining({ retries: 0 }) }),
    ]);
  });

  it('answers for each message with the outage, and makes the producer anew', async () => {
    const { publisher, made } = publisherOver(() => Promise.reject(new Error('connection closed')));
    const outcomes = await publisher.publish([message('k1'), message('k2')]);
    expect(outcomes).toEqual([expect.any(BrokerUnavailableError), expect.any(BrokerUnavailableError)]);
    await publisher.publish([message('k1')]);
    expect(made).toHaveLength(2);
  });
});
