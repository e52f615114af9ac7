import { describe, expect, it } from '@jest/globals';
import type { Channel, ConsumeMessage } from 'amqplib';
import type { Logger } from '../../../observability/logger.js';
import type { IncomingMessage, Settlement } from '../broker-adapter.js';
import type { Acknowledgements } from './acknowledgements.js';
import { DeliveryGate } from './delivery-gate.js';
import { RabbitmqQueueConsumer } from './rabbitmq.queue-consumer.js';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function consume() {
  let receive: (message: ConsumeMessage) => void = () => undefined;
  const received: number[] = [];
  const acknowledged: number[] = [];
  const delivered: { message: IncomingMessage; settle: (settlement: Settlement) => void }[] = [];
  const channel = {
    consume: (_queue: string, callback: (message: ConsumeMessage) => void) => {
      receive = callback;
      return Promise.resolve({ consumerTag: 'tag' });
    },
  } as unknown as Channel;
  const acknowledgements = {
    received: ({ fields }: ConsumeMessage) => void received.push(fields.deliveryTag),
    settle: ({ fields }: ConsumeMessage) => void acknowledged.push(fields.deliveryTag),
  } as unknown as Acknowledgements;
  const consumer = new RabbitmqQueueConsumer(channel, {
    queue: 'queue',
    topic: 'topic',
    undeliverable: undefined,
    deliveryLimit: 5,
    gate: new DeliveryGate(10),
    acknowledgements,
    deliver: (message) => new Promise((settle) => delivered.push({ message, settle })),
    logger: { debug: () => undefined } as unknown as Logger,
    onDown: () => undefined,
  });
  await consumer.start();
  const give = (tag: number, deliveries = 0): void =>
    receive({
      content: Buffer.from('{}'),
      fields: { deliveryTag: tag },
      properties: { messageId: `m${tag}`, headers: { 'x-delivery-count': deliveries } },
    } as unknown as ConsumeMessage);
  return { consumer, give, received, acknowledged, delivered };
}

describe('consuming a queue of RabbitMQ', () => {
  it('acknowledges a message when it is settled, and not before', async () => {
    const { give, acknowledged, delivered } = await consume();
    give(1);
    give(2);
    await turn();
    expect(delivered).toHaveLength(2);
    expect(acknowledged).toEqual([]);
    delivered[1]?.settle('settled');
    await turn();
    expect(acknowledged).toEqual([2]);
    delivered[0]?.settle('settled');
    await turn();
    expect(acknowledged).toEqual([2, 1]);
  });

  it('does not acknowledge a released message, and lets none overtake it', async () => {
    const { consumer, give, received, acknowledged, delivered } = await consume();
    give(1);
    delivered[0]?.settle('release');
    await turn();
    give(2);
    await turn();
    expect(delivered).toHaveLength(1);
    expect(acknowledged).toEqual([]);
    await consumer.drain();
    expect(acknowledged).toEqual([]);
    expect(received).toEqual([1, 2]);
  });

  it('does not acknowledge what it has lost the right to', async () => {
    const { consumer, give, acknowledged, delivered } = await consume();
    give(1);
    consumer.lose(new Error('the channel was lost'));
    expect(delivered[0]?.message.signal.aborted).toBe(true);
    delivered[0]?.settle('settled');
    await turn();
    expect(acknowledged).toEqual([]);
  });

  it("gives up the queue's head when it came back too often, and no other message", async () => {
    const { give, delivered } = await consume();
    give(1, 5);
    give(2, 5);
    await turn();
    expect(delivered.map(({ message }) => message.undeliverable !== undefined)).toEqual([true, false]);
  });
});
