import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import kafkajs, { type Message, type PartitionMetadata } from 'kafkajs';
import { keyPartitioner } from './kafka.partitioner.js';

const partitions = (count: number): PartitionMetadata[] =>
  Array.from({ length: count }, (_, partitionId) => ({ partitionId, partitionErrorCode: 0, leader: 1, replicas: [], isr: [] }));

describe('the partition of a key', () => {
  const ours = keyPartitioner();
  const theirs = kafkajs.Partitioners.DefaultPartitioner();
  const key = fc.oneof(fc.uuid(), fc.string({ unit: 'binary', maxLength: 300 }));
  const bytes = fc.uint8Array({ maxLength: 50 }).map((values) => Buffer.from(values));

  it('is the one that kafkajs chooses, and so Java', () => {
    fc.assert(
      fc.property(key, fc.integer({ min: 1, max: 1000 }), (key, count) => {
        const args = { topic: 't', partitionMetadata: partitions(count), message: { key, value: null } };
        expect(ours(args)).toBe(theirs(args));
      }),
      { numRuns: 2000 },
    );
    // From the tests of Kafka's own Utils.murmur2.
    const all = { topic: 't', partitionMetadata: partitions(1000) };
    expect(ours({ ...all, message: { key: '21', value: null } })).toBe((-973932308 & 0x7fffffff) % 1000);
    expect(ours({ ...all, message: { key: 'foobar', value: null } })).toBe((-790332482 & 0x7fffffff) % 1000);
  });

  it('is kafkajs’ choice for what is no event of ours', () => {
    fc.assert(
      fc.property(bytes, (key) => {
        const args = { topic: 't', partitionMetadata: partitions(12), message: { key, value: null } };
        expect(ours(args)).toBe(theirs(args));
      }),
    );
    const given: Message = { key: 'k', value: null, partition: 7 };
    expect(ours({ topic: 't', partitionMetadata: partitions(12), message: given })).toBe(7);
    const none: Message = { value: null };
    const chosen = Array.from({ length: 12 }, () => ours({ topic: 't', partitionMetadata: partitions(12), message: none }));
    expect(new Set(chosen).size).toBe(12); // in turns
  });
});
