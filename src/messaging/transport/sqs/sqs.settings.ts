import type { SqsConfig } from '../../../config/config.js';
import type { Logger } from '../../../observability/logger.js';

/** What the adapter is made of. */
export interface SqsSettings {
  readonly sqs: SqsConfig;
  readonly namespace: string;
  readonly provision: boolean;
  readonly instance: string;
  readonly logger: Logger;
}

/** What SQS takes in one batch request. */
export const MAX_BATCH_ENTRIES = 10;

/** The limit of a queue that does not tell its own: the lower one of the two that SQS has had. */
export const DEFAULT_MAX_BYTES = 256 * 1024;
