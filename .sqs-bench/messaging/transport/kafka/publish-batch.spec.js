import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { BrokerUnavailableError, MessageRejectedError } from '../broker-adapter.js';
import { MAX_MESSAGE_BYTES } from './kafka.settings.js';
import { PublishBatch } from './publish-batch.js';
/** A broker as seen through kafkajs: each partition takes its records of a request as a whole or not at all, and only the first failure is told. */ let Broker = class Broker {
  fault;
  log = [];
  requests = 0;
  constructor(fault = () => undefined) {
    this.fault = fault;
  }
  send = (messages) => {
    const request = ++this.requests;
    const byPartition = Map.groupBy(messages, partitionOf);
    const faults = [...byPartition.values()].map((some) => {
      const fault = some.map((each) => this.fault(each, request)).find((each) => each !== undefined);
      if (fault === undefined) this.log.push(...some.map(({ eventId }) => eventId));
      return fault;
    });
    const first = faults.find((fault) => fault !== undefined);
    if (first === undefined) return Promise.resolve();
    return Promise.reject(
      first === 'silence'
        ? new Error('timed out')
        : Object.assign(new Error(first), {
            type: first,
          }),
    );
  };
};
function run(broker, messages, careful = false) {
  const batch = new PublishBatch(messages, {
    send: broker.send,
    partitionOf,
    isKnown: (topic) => topic === 'known',
    careful,
    unavailable: (cause) =>
      new BrokerUnavailableError('outage', {
        cause,
      }),
  });
  return batch.run().then((outcomes) => ({
    outcomes,
    interrupted: batch.interrupted,
  }));
}
const names = (outcomes) => outcomes.map((outcome) => outcome?.name);
const REFUSED = 'MessageRejectedError';
const OUTAGE = 'BrokerUnavailableError';
describe('PublishBatch', () => {
  it('sends a batch that fits as one request', async () => {
    const broker = new Broker();
    const { outcomes, interrupted } = await run(broker, many(500));
    expect(outcomes).toEqual(many(500).map(() => undefined));
    expect(broker.requests).toBe(1);
    expect(interrupted).toBe(false);
  });
  it('answers an empty batch without asking', async () => {
    const broker = new Broker();
    expect((await run(broker, [])).outcomes).toEqual([]);
    expect(broker.requests).toBe(0);
  });
  it('splits by bytes', async () => {
    const sizes = [];
    const broker = new Broker((message, request) => {
      sizes[request] = (sizes[request] ?? 0) + message.payload.length;
      return undefined;
    });
    await run(
      broker,
      Array.from(
        {
          length: 30,
        },
        (_, n) => made(`key-${n}`, n, 200_000),
      ),
    );
    expect(broker.log).toHaveLength(30);
    expect(Math.max(...sizes.filter(Boolean))).toBeLessThanOrEqual(900_000);
  });
  it('refuses what is too large itself, and what follows in its key, but not what came before', async () => {
    const broker = new Broker();
    const batch = [made('a', 0), made('a', 1, MAX_MESSAGE_BYTES + 1), made('b', 0), made('a', 2)];
    expect(names((await run(broker, batch)).outcomes)).toEqual([undefined, REFUSED, undefined, REFUSED]);
    expect(broker.log).toEqual(['a0', 'b0']);
  });
  it('finds the one record that the broker refuses', async () => {
    const broker = new Broker(({ eventId }) => (eventId === 'key-77' ? 'MESSAGE_TOO_LARGE' : undefined));
    const { outcomes, interrupted } = await run(broker, many(200));
    expect(outcomes.flatMap((outcome, index) => (outcome ? [index] : []))).toEqual([77]);
    expect(outcomes[77]).toBeInstanceOf(MessageRejectedError);
    expect(interrupted).toBe(false);
  });
  it('refuses an unknown topic for its entries, and takes a known one that is unknown for an outage', async () => {
    const broker = new Broker(({ topic, key }) => (topic === 'new' || key === 'gone' ? 'UNKNOWN_TOPIC_OR_PARTITION' : undefined));
    const batch = [
      made('a', 0),
      {
        ...made('b', 0),
        topic: 'new',
      },
      made('gone', 0),
      made('c', 0),
    ];
    const { outcomes, interrupted } = await run(broker, batch);
    expect(names(outcomes)).toEqual([undefined, REFUSED, OUTAGE, undefined]);
    expect(interrupted).toBe(true);
  });
  it('★K10 takes too few replicas for an outage of that partition alone', async () => {
    const bad = partitionOf(made('a', 0));
    const broker = new Broker((message) => (partitionOf(message) === bad ? 'NOT_ENOUGH_REPLICAS' : undefined));
    const batch = many(50);
    const { outcomes, interrupted } = await run(broker, batch);
    expect(names(outcomes)).toEqual(batch.map((message) => (partitionOf(message) === bad ? OUTAGE : undefined)));
    expect(interrupted).toBe(true);
  });
  it('asks a silent broker once, and answers for the rest', async () => {
    const broker = new Broker(() => 'silence');
    const { outcomes, interrupted } = await run(
      broker,
      Array.from(
        {
          length: 20,
        },
        (_, n) => made(`key-${n}`, n, 200_000),
      ),
    );
    expect(broker.requests).toBe(1);
    expect(new Set(names(outcomes))).toEqual(new Set([OUTAGE]));
    expect(interrupted).toBe(true);
  });
  it('goes on with the other partitions when one is silent, if it is careful', async () => {
    const bad = partitionOf(made('a', 0));
    const broker = new Broker((message) => (partitionOf(message) === bad ? 'silence' : undefined));
    const batch = Array.from(
      {
        length: 40,
      },
      (_, n) => made(`key-${n}`, 0, 200_000),
    );
    const { outcomes, interrupted } = await run(broker, batch, true);
    expect(names(outcomes)).toEqual(batch.map((message) => (partitionOf(message) === bad ? OUTAGE : undefined)));
    expect(interrupted).toBe(true);
  });
  it('proves only what is in the log, and keeps each key in order, whatever fails', async () => {
    const fault = fc.constantFrom(undefined, undefined, undefined, 'MESSAGE_TOO_LARGE', 'NOT_ENOUGH_REPLICAS', 'silence');
    const entry = fc.record({
      key: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
      size: fc.constantFrom(10, 300_000, MAX_MESSAGE_BYTES + 1),
      refused: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(entry, {
          maxLength: 25,
        }),
        fc.array(fault, {
          minLength: 40,
          maxLength: 40,
        }),
        fc.boolean(),
        async (entries, faults, careful) => {
          const counts = new Map();
          const poison = new Set();
          let pending = entries.map(({ key, size, refused }) => {
            const n = counts.get(key) ?? 0;
            counts.set(key, n + 1);
            const message = made(key, n, size);
            if (refused) poison.add(message.eventId);
            return message;
          });
          const broker = new Broker(({ eventId, key }, request) =>
            poison.has(eventId) ? 'MESSAGE_TOO_LARGE' : faults[(request + key.charCodeAt(0)) % 40],
          );
          for (let round = 0; round < 5; round++) {
            const { outcomes } = await run(broker, pending, careful);
            pending.forEach((message, index) => {
              if (!outcomes[index]) expect(broker.log).toContain(message.eventId);
              const former = pending.slice(0, index).findIndex(({ key }) => key === message.key);
              if (former >= 0 && outcomes[former]) expect(outcomes[index]).toBeDefined();
            });
            pending = pending.filter((_, index) => outcomes[index] !== undefined);
          }
          const firstSeen = [...new Set(broker.log)];
          for (const key of counts.keys()) {
            const numbers = firstSeen.filter((id) => id.startsWith(key)).map((id) => Number(id.slice(key.length)));
            expect(numbers).toEqual(
              Array.from(
                {
                  length: numbers.length,
                },
                (_, n) => n,
              ),
            );
          }
        },
      ),
    );
  });
});
function partitionOf({ topic, key }) {
  return `${topic}/${key.codePointAt(key.length - 1) % 3}`;
}
function made(key, n, size = 10) {
  return {
    eventId: `${key}${n}`,
    topic: 'known',
    type: 'known.thing',
    key,
    headers: {},
    payload: Buffer.alloc(size),
  };
}
function many(count) {
  return Array.from(
    {
      length: count,
    },
    (_, n) => ({
      ...made(`key-${n}`, n),
      eventId: `key-${n}`,
    }),
  );
}

//# sourceMappingURL=publish-batch.spec.js.map
