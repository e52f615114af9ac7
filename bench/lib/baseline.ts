import fs from 'node:fs';
import { freePort } from '../../scripts/lib/ports.mjs';
import kafkajs from 'kafkajs';
import type { Stage } from './bench.js';
import type { Subject } from './subject.js';

export const TUTORIAL = 'the tutorial way';
const PARTITIONS = 8;
const TABLES = new URL('../baseline/tables.sql', import.meta.url);

/** Starts the baseline application on a topic of its own, or on one that is there already. */
export async function startBaseline(stage: Stage, roles: string, env: Readonly<Record<string, string>> = {}): Promise<Subject> {
  const topic = env['BASELINE_TOPIC'] ?? `${stage.namespace}.baseline`;
  await stage.database.query(fs.readFileSync(TABLES, 'utf8'));
  if (!env['BASELINE_TOPIC']) await createTopic(stage, topic);
  return stage.start('baseline/main.ts', { PORT: String(await freePort()), BASELINE_TOPIC: topic, BASELINE_ROLES: roles, ...env });
}

export async function createTopic(stage: Stage, topic: string): Promise<void> {
  const admin = kafkaOf(stage).admin();
  await admin.connect();
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: PARTITIONS }] });
  await admin.disconnect();
}

/** How many messages a topic holds. */
export async function messagesIn(stage: Stage, topic: string): Promise<number> {
  const admin = kafkaOf(stage).admin();
  await admin.connect();
  const offsets = await admin.fetchTopicOffsets(topic);
  await admin.disconnect();
  return offsets.reduce((sum, { high }) => sum + Number(high), 0);
}

export function kafkaOf(stage: Stage): kafkajs.Kafka {
  return new kafkajs.Kafka({ brokers: (stage.env['KAFKA_BROKERS'] ?? '').split(','), logLevel: kafkajs.logLevel.NOTHING });
}
