import type { BrokerConfig } from '../../../config/config.js';
import type { DatabasePool } from '../../../database/database-pool.js';
import type { Notifications } from '../../../database/notifications.js';
import type { Logger } from '../../../observability/logger.js';

/** What the adapter is made of. */
export interface PostgresSettings extends Pick<BrokerConfig, 'namespace' | 'postgres'> {
  readonly instance: string;
  readonly lanes: number;
  readonly logger: Logger;
  readonly database: DatabasePool;
  readonly notifications: Notifications;
  /** How many rows of a queue must have gone before it is looked where its lanes begin. */
  readonly rowsBetweenLooks?: number;
}

/** Subject of the hint that a queue has messages. */
export function queueSubject(queue: string): string {
  return `queue:${queue}`;
}
