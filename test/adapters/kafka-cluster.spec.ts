import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import type { KafkaConfig } from '../../src/config/config.js';
import {
  BrokerUnavailableError,
  type ActiveSubscription,
  type OutgoingMessage,
  type Topology,
} from '../../src/messaging/transport/broker-adapter.js';
import { KafkaAdapter } from '../../src/messaging/transport/kafka/kafka.adapter.js';
import { eventually } from '../support/eventually.js';
import { canStartKafka, startCluster, startSecured, type KafkaCluster, type SecuredKafka } from './kafka-servers.js';
import { supervise } from './kafka-supervise.js';

jest.setTimeout(240_000);

const TOPIC = 'shop.order';
const SUBSCRIPTION = { group: 'inventory', topic: TOPIC };
const TOPOLOGY: Topology = { topics: [TOPIC], subscriptions: [SUBSCRIPTION], deadLetterTopics: [] };

const { available, reason } = await canStartKafka();
if (!available) console.warn(`Kafka cluster and Kafka with TLS: skipped, ${reason ?? 'no server'}`);
const suite = available ? describe : describe.skip;

const opened: KafkaAdapter[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((adapter) => adapter.close()));
});

function adapter(kafka: Partial<KafkaConfig>, log?: (line: string) => void): KafkaAdapter {
  const made = new KafkaAdapter({
    kafka: {
      brokers: [],
      partitions: 6,
      replicationFactor: 1,
      minInsyncReplicas: 1,
      sessionTimeoutMs: 6_000,
      requestTimeoutMs: 3_000,
      ssl: false,
      ca: undefined,
      sasl: undefined,
      ...kafka,
    },
    namespace: `t${randomUUID().slice(0, 8)}`,
    provision: true,
    instance: 'test',
    logger: log ? pino({ level: 'trace' }, { write: log }) : pino({ level: 'silent' }),
  });
  opened.push(made);
  return made;
}

suite('Kafka adapter on three brokers', () => {
  let cluster: KafkaCluster;
  beforeAll(async () => {
    cluster = await startCluster();
  });
  afterAll(() => cluster?.dispose());

  it('★K10 loses nothing and keeps each order while brokers die under load; too few replicas are an outage', async () => {
    const [, second, third] = cluster.nodes as [KafkaCluster['nodes'][0], KafkaCluster['nodes'][0], KafkaCluster['nodes'][0]];
    const settings = { brokers: cluster.nodes.map(({ port }) => `127.0.0.1:${port}`), replicationFactor: 3, minInsyncReplicas: 2 };
    const broker = adapter(settings);
    await eventually(() => broker.open(TOPOLOGY), { timeoutMs: 60_000, everyMs: 250 }); // the brokers find each other first
    const seen = new Map<string, number[]>();
    const supervised = supervise(broker, SUBSCRIPTION, ({ key, payload }) => {
      const numbers = seen.get(key as string) ?? [];
      seen.set(key as string, numbers);
      const n = Number(payload.toString());
      if (!numbers.includes(n)) numbers.push(n);
      return Promise.resolve('settled');
    });

    const keys = Array.from({ length: 30 }, (_, index) => `key-${index}`);
    const acknowledged = new Map(keys.map((key) => [key, 0]));
    const problems = new Set<string>();
    let partly = 0;
    /** What the relay does: from each key's head, in order, a key stops at its first failure. */
    const publish = async (rounds: number): Promise<void> => {
      const target = Math.max(...acknowledged.values()) + rounds;
      await eventually(
        async () => {
          const batch = keys.flatMap((key) => {
            const from = acknowledged.get(key) as number;
            return Array.from({ length: Math.min(5, target - from) }, (_, index) => message(key, from + index));
          });
          const outcomes = await broker.publish(batch);
          outcomes.forEach((outcome, index) => {
            const { key, payload } = batch[index] as OutgoingMessage;
            if (outcome) problems.add(outcome.message);
            else {
              expect(acknowledged.get(key)).toBe(Number(payload.toString())); // never one before its predecessor
              acknowledged.set(key, Number(payload.toString()) + 1);
            }
          });
          const failed = outcomes.filter((outcome) => outcome !== undefined).length;
          if (failed > 0 && failed < outcomes.length) partly++;
          expect(Math.min(...acknowledged.values())).toBe(target);
        },
        { timeoutMs: 60_000, everyMs: 20 },
      );
    };

    await publish(20);
    await third.kill();
    await publish(40);
    await second.kill();
    await eventually(async () => {
      const outcomes = await broker.publish(keys.map((key) => message(key, acknowledged.get(key) as number)));
      expect(outcomes.every((outcome) => outcome instanceof BrokerUnavailableError)).toBe(true);
      expect(outcomes[0]?.message).toMatch(/insync|in-sync|replicas/i);
    });
    await third.start();
    await publish(40);
    await second.start();
    await publish(20);
    const total = Math.max(...acknowledged.values());
    await eventually(
      () => {
        for (const key of keys) expect(seen.get(key)).toEqual(Array.from({ length: total }, (_, n) => n));
      },
      { timeoutMs: 90_000 },
    );
    await eventually(async () => expect(await broker.lag(SUBSCRIPTION)).toBe(0), { timeoutMs: 60_000 });
    console.info(`${partly} batches failed partly; ${[...problems].join(' | ')}`);
    await supervised.close();
  });
});

suite('Kafka adapter with TLS and logins', () => {
  let secured: SecuredKafka;
  beforeAll(async () => {
    secured = await startSecured();
  });
  afterAll(() => secured?.dispose());

  it('publishes and consumes by each of them', async () => {
    const { ports, ca, user } = secured;
    const ways: Partial<KafkaConfig>[] = [
      { brokers: [`127.0.0.1:${ports.ssl}`], ssl: true, ca },
      { brokers: [`127.0.0.1:${ports.sasl}`], sasl: { mechanism: 'scram-sha-512', ...user } },
      { brokers: [`127.0.0.1:${ports.saslSsl}`], ssl: true, ca, sasl: { mechanism: 'scram-sha-256', ...user } },
      { brokers: [`127.0.0.1:${ports.saslSsl}`], ssl: true, ca, sasl: { mechanism: 'plain', ...user } },
    ];
    for (const way of ways) {
      const broker = adapter(way);
      await eventually(() => broker.open(TOPOLOGY), { timeoutMs: 60_000, everyMs: 250 });
      expect(await broker.publish([message('a', 1)])).toEqual([undefined]);
      const received: string[] = [];
      const subscribe = (): Promise<ActiveSubscription> =>
        broker.subscribe(
          SUBSCRIPTION,
          ({ payload }) => {
            received.push(payload.toString());
            return Promise.resolve('settled');
          },
          { maxInFlight: 10, onDown: (error) => received.push(error.message) },
        );
      // A broker that has just started may still be loading what it knows of groups; the application would try again.
      const active = await eventually(subscribe, { timeoutMs: 60_000, everyMs: 250 });
      await eventually(() => expect(received).toEqual(['1']));
      await broker.check();
      await active.close();
    }
  });

  it('★O2 ★H11 names what is wrong, in time, with flat memory, never falls back, and never tells the password', async () => {
    const { ports, ca, user } = secured;
    const lines: string[] = [];
    const cases: [Partial<KafkaConfig>, RegExp][] = [
      [{ brokers: [`127.0.0.1:${ports.ssl}`] }, /KAFKA_SSL=true/],
      [{ brokers: [`127.0.0.1:${ports.plain}`], ssl: true, ca }, /KAFKA_SSL=false/],
      [{ brokers: [`127.0.0.1:${ports.ssl}`], ssl: true }, /certificate/],
      [{ brokers: [`127.0.0.1:${ports.sasl}`] }, /SASL/],
      [
        { brokers: [`127.0.0.1:${ports.sasl}`], sasl: { mechanism: 'plain', ...user, password: `${user.password}-wrong` } },
        /SASL.*user and password/,
      ],
      [
        { brokers: [`127.0.0.1:${ports.saslSsl}`], ssl: true, ca, sasl: { mechanism: 'scram-sha-512', ...user, username: 'nobody' } },
        /SASL/,
      ],
      [{ brokers: [`127.0.0.1:${ports.saslSsl}`], ssl: true, sasl: { mechanism: 'plain', ...user } }, /certificate/],
    ];
    const before = process.memoryUsage().rss;
    for (const [config, hint] of cases) {
      const broker = adapter(config, (line) => lines.push(line));
      const from = performance.now();
      const failure = await broker.open(TOPOLOGY).then(
        () => new Error('it was let in'),
        (error: unknown) => error as Error,
      );
      expect(performance.now() - from).toBeLessThan(16_000);
      expect(failure.message).toMatch(hint);
      expect(failure).toBeInstanceOf(BrokerUnavailableError);
      const [outcome] = await broker.publish([message('a', 0)]);
      expect(outcome).toBeInstanceOf(BrokerUnavailableError);
      await expect(
        broker.subscribe(SUBSCRIPTION, () => Promise.resolve('settled'), { maxInFlight: 1, onDown: () => undefined }),
      ).rejects.toThrow(BrokerUnavailableError);
      expect(`${failure.message} ${failure.stack ?? ''} ${outcome?.message ?? ''}`).not.toContain(user.password);
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * 1024 * 1024);
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.join('')).not.toContain(user.password);
  });
});

function message(key: string, n: number): OutgoingMessage {
  return { eventId: randomUUID(), topic: TOPIC, type: 'shop.order.placed', key, headers: {}, payload: Buffer.from(String(n)) };
}
