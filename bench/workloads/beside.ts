import type { BrokerName } from '../../src/config/config.js';
import { startShop } from '../lib/shop.js';
import type { Bench } from '../lib/bench.js';
import { latency } from './latency.js';
import { post, postBaseline } from './write.js';
import { relay } from './relay.js';
import { consume } from './consume.js';

/** The shapes that other systems were measured in: Kafka with 8 partitions, 64 connections, 500 keys, 20/s and 200/s. */
export async function beside(bench: Bench): Promise<void> {
  const kafka = bench.on(['kafka' satisfies BrokerName]);
  for (const groupCommit of [true, false])
    await kafka.stage('kafka', async (stage) => {
      const shop = await startShop(stage, { ROLES: 'http,relay', ORDERS_GROUP_COMMIT: String(groupCommit) });
      await post(kafka, stage, shop, groupCommit ? 'POST /orders, group commit' : 'POST /orders', 'orders', 'outbox', 'beside');
    });
  await kafka.stage('kafka', (stage) => postBaseline(kafka, stage, 'beside'));
  await relay(kafka);
  await consume(kafka);
  await latency(kafka);
}
