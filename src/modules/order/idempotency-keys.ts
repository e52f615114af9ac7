import { Inject, Injectable } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { Database, type Transaction } from '../../database/database.js';
import { isLockTimeout } from '../../database/database-errors.js';
import { LOGGER, type Logger } from '../../observability/logger.js';
import { IdempotencyKeyInUseError, IdempotencyKeyReusedError } from './order.errors.js';

/** An answer that is given again, to the letter, to whoever repeats the request. */
export interface StoredAnswer {
  readonly status: number;
  readonly location: string;
  /** JSON */
  readonly body: string;
}

const WAIT_FOR_TWIN_MS = 2000;
const RETRY_AFTER_SECONDS = 1;
const RETENTION_HOURS = 48;
const CLEAN_UP_EVERY_MS = 10 * 60_000;

/** Idempotency keys: claimed, and spent with their answer, in the transaction that the answer is about. */
@Injectable()
export class IdempotencyKeys {
  constructor(
    private readonly database: Database,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * The first statement of the transaction: claims the key, or finds the answer that it was spent on. A twin that
   * has claimed it and is not done yet is waited for a little; if it fails, the key is ours.
   * @throws IdempotencyKeyReusedError for another request, IdempotencyKeyInUseError when the twin takes too long
   */
  async claim(tx: Transaction, key: string, request: string): Promise<StoredAnswer | undefined> {
    if (await this.insert(tx, key, request)) return undefined;
    const [stored] = await tx.$queryRaw<(StoredAnswer & { request: string })[]>`
      SELECT request, status, location, body FROM idempotency_key WHERE key = ${key}`;
    if (!stored) throw new IdempotencyKeyInUseError(RETRY_AFTER_SECONDS, undefined); // cleaned up in between
    if (stored.request !== request) throw new IdempotencyKeyReusedError();
    return stored;
  }

  /** Keeps the answer with the key that this transaction has claimed. */
  async spend(tx: Transaction, key: string, answer: StoredAnswer): Promise<void> {
    await tx.$executeRaw`
      UPDATE idempotency_key SET status = ${answer.status}, location = ${answer.location}, body = ${answer.body} WHERE key = ${key}`;
  }

  /** Forgets keys that nobody repeats any more. */
  @Interval(CLEAN_UP_EVERY_MS)
  async cleanUp(): Promise<void> {
    try {
      await this.database.prisma.$executeRaw`DELETE FROM idempotency_key WHERE created_at < now() - ${RETENTION_HOURS} * interval '1 hour'`;
    } catch (error) {
      this.logger.warn({ err: error }, 'old idempotency keys could not be deleted; the next try follows');
    }
  }

  /** One round trip: bounds the wait for a twin, inserts, and takes the bound away again. */
  private async insert(tx: Transaction, key: string, request: string): Promise<boolean> {
    try {
      const [result] = await tx.$queryRaw<{ claimed: boolean }[]>`
        WITH bound AS MATERIALIZED (
          SELECT current_setting('lock_timeout') AS before, set_config('lock_timeout', ${String(WAIT_FOR_TWIN_MS)}, true) AS now
        ), claimed AS (
          INSERT INTO idempotency_key (key, request) SELECT ${key}, ${request} FROM bound ON CONFLICT DO NOTHING RETURNING key
        ), counted AS MATERIALIZED (SELECT count(*) = 1 AS claimed FROM claimed)
        SELECT claimed, set_config('lock_timeout', bound.before, true) FROM counted, bound`;
      return result?.claimed ?? false;
    } catch (error) {
      if (isLockTimeout(error)) throw new IdempotencyKeyInUseError(RETRY_AFTER_SECONDS, error);
      throw error;
    }
  }
}
