// @ts-check
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import kafkajs from 'kafkajs';

// Produces, joins a group and consumes. An open port is not enough: for some seconds the coordinators answer that they are loading.
const broker = process.argv[2] ?? '';
const name = `waybill-ready-${randomUUID()}`;
const kafka = new kafkajs.Kafka({
  brokers: [broker],
  logLevel: kafkajs.logLevel.NOTHING,
  retry: { initialRetryTime: 50, maxRetryTime: 200, retries: 200 },
});

const admin = kafka.admin();
await admin.connect();
await admin.createTopics({ topics: [{ topic: name, numPartitions: 1 }], waitForLeaders: true });

const producer = kafka.producer();
await producer.connect();
await producer.send({ topic: name, acks: -1, messages: [{ value: 'ready' }] });
await producer.disconnect();

const consumer = kafka.consumer({ groupId: name, maxWaitTimeInMs: 100, sessionTimeout: 6000 });
await consumer.connect();
await consumer.subscribe({ topic: name, fromBeginning: true });
// Until the message is here: a consumer that disconnects just after it has joined leaves a member behind and does not end.
await new Promise((resolve, reject) => void consumer.run({ eachMessage: async () => resolve(undefined) }).catch(reject));
await consumer.disconnect();

// No trace is left, where that is possible: the group may not have noticed yet that its only member has gone.
await admin.deleteTopics({ topics: [name] });
for (let tries = 0; tries < 20; tries++) {
  try {
    await admin.deleteGroups([name]);
    break;
  } catch {
    await sleep(50);
  }
}
await admin.disconnect();
process.exit(0);
