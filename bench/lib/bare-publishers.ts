import { CreateQueueCommand, SendMessageBatchCommand, SQSClient } from '@aws-sdk/client-sqs';
import amqplib from 'amqplib';
import { kafkaOf } from './baseline.js';
import type { Stage } from './bench.js';

const BATCH = 500;
const VALUE = Buffer.from(JSON.stringify({ text: 'x'.repeat(270) }));
const HEADERS = { ce_id: 'x'.repeat(36), ce_type: 'bench.thing.happened', more: 'x'.repeat(250) };

/** What the broker takes from its barest client, with the same bytes and the same proof: events a second. */
export async function bareLimit(stage: Stage, events: number): Promise<number | undefined> {
  const publish = await publishers[stage.broker as keyof typeof publishers]?.(stage);
  if (!publish) return undefined;
  const start = performance.now();
  for (let sent = 0; sent < events; sent += BATCH) await publish.batch();
  const seconds = (performance.now() - start) / 1000;
  await publish.close();
  return events / seconds;
}

interface Bare {
  batch(): Promise<unknown>;
  close(): Promise<unknown>;
}

const publishers = {
  async kafka(stage: Stage): Promise<Bare> {
    const kafka = kafkaOf(stage);
    const topic = `${stage.namespace}.bare`;
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 8 }] });
    await admin.disconnect();
    const producer = kafka.producer();
    await producer.connect();
    const messages = Array.from({ length: BATCH }, (_, n) => ({ key: String(n), value: VALUE, headers: HEADERS }));
    return { batch: () => producer.send({ topic, acks: -1, messages }), close: () => producer.disconnect() };
  },
  async rabbitmq(stage: Stage): Promise<Bare> {
    const connection = await amqplib.connect(stage.env['RABBITMQ_URL'] ?? '');
    const channel = await connection.createConfirmChannel();
    const queues = Array.from({ length: 8 }, (_, n) => `${stage.namespace}.bare.${n}`);
    for (const queue of queues) await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    return {
      batch: () => {
        for (let n = 0; n < BATCH; n++)
          channel.publish('', queues[n % queues.length] as string, VALUE, { persistent: true, mandatory: true, headers: HEADERS });
        return channel.waitForConfirms();
      },
      close: () => connection.close(),
    };
  },
  async sqs(stage: Stage): Promise<Bare> {
    const credentials = { accessKeyId: 'bench', secretAccessKey: 'bench' };
    const client = new SQSClient({
      endpoint: stage.env['SQS_ENDPOINT'] ?? '',
      region: stage.env['AWS_REGION'] ?? 'us-east-1',
      credentials,
    });
    const { QueueUrl } = await client.send(
      new CreateQueueCommand({ QueueName: `${stage.namespace}.fifo`, Attributes: { FifoQueue: 'true' } }),
    );
    let n = 0;
    const ten = (): Promise<unknown> =>
      client.send(
        new SendMessageBatchCommand({
          QueueUrl,
          Entries: Array.from({ length: 10 }, (_, index) => ({
            Id: String(index),
            MessageBody: VALUE.toString(),
            MessageGroupId: String(index),
            MessageDeduplicationId: String(n++),
          })),
        }),
      );
    const tens = async (): Promise<void> => {
      for (let sent = 0; sent < BATCH / 10; sent += 10) await Promise.all(Array.from({ length: 10 }, ten));
    };
    return { batch: tens, close: () => Promise.resolve(client.destroy()) };
  },
};
