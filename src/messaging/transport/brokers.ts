import type { BrokerConfig, BrokerName } from '../../config/config.js';
import type { DatabasePool } from '../../database/database-pool.js';
import type { Notifications } from '../../database/notifications.js';
import type { Logger } from '../../observability/logger.js';
import type { BrokerAdapter } from './broker-adapter.js';

/** What an adapter may be made of. */
export interface BrokerSettings extends BrokerConfig {
  readonly instance: string;
  readonly lanes: number;
  readonly logger: Logger;
  readonly database: DatabasePool;
  readonly notifications: Notifications;
}

/** The one list of brokers. Only the chosen one's client library is loaded. */
export const brokers: Record<BrokerName, (settings: BrokerSettings) => Promise<BrokerAdapter>> = {
  postgres: async (settings) => new (await import('./postgres/postgres.adapter.js')).PostgresAdapter(settings),
  kafka: async (settings) => new (await import('./kafka/kafka.adapter.js')).KafkaAdapter(settings),
  rabbitmq: async (settings) => new (await import('./rabbitmq/rabbitmq.adapter.js')).RabbitmqAdapter(settings),
  sqs: async (settings) => new (await import('./sqs/sqs.adapter.js')).SqsAdapter(settings),
};
