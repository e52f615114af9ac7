// @ts-check
import { randomUUID } from 'node:crypto';
import { CreateQueueCommand, DeleteQueueCommand, ListQueuesCommand, SQSClient } from '@aws-sdk/client-sqs';

/** What the app must be told to use an SQS server of this machine; it takes any credentials. @param {number} port */
export const sqsEnvironment = (port) => ({
  SQS_ENDPOINT: `http://127.0.0.1:${port}`,
  AWS_REGION: 'us-east-1',
  AWS_ACCESS_KEY_ID: 'waybill',
  AWS_SECRET_ACCESS_KEY: 'waybill',
});

/** Creates a queue, finds it in the list, and deletes it. @param {number} port */
export async function createAndListQueue(port) {
  const env = sqsEnvironment(port);
  const client = new SQSClient({
    endpoint: env.SQS_ENDPOINT,
    region: env.AWS_REGION,
    credentials: { accessKeyId: env.AWS_ACCESS_KEY_ID, secretAccessKey: env.AWS_SECRET_ACCESS_KEY },
    maxAttempts: 1,
  });
  try {
    const name = `waybill-ready-${randomUUID()}`;
    const { QueueUrl } = await client.send(new CreateQueueCommand({ QueueName: name }));
    const { QueueUrls = [] } = await client.send(new ListQueuesCommand({ QueueNamePrefix: name }));
    await client.send(new DeleteQueueCommand({ QueueUrl }));
    if (QueueUrls.length !== 1) throw new Error(`the queue ${name} is not in the list after it was created`);
  } finally {
    client.destroy();
  }
}
