import { Inject, Injectable } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { Database, type Transaction } from '../../database/database.js';
import { isLockTimeout } from '../../database/database-errors.js';
import { LOGGER, type Logger } from '../../observability/logger.js';
import { IdempotencyKeyInUseError } from './order.errors.js';

/** An answer that is given again, to the letter, to whoever repeats the request. */
export interface StoredAnswer {
  readonly status: number;
  readonly location: string;
  /** JSON */
  readonly body: string;
}

/** A request with a key, as it is claimed. */
export interface KeyClaim {
  readonly key: string;
  /** The request's fingerprint. */
  readonly request: string;
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
   * The first statement of the transaction: claims different keys, in ascending order, so that twins wait for each
   * other and do not deadlock; answers what those that were claimed before were spent on. A twin that is not done
   * yet is waited for a little; if it fails, the key is ours.
   * @throws IdempotencyKeyInUseError when a twin takes too long
   */
  async claim(tx: Transaction, claims: readonly KeyClaim[]): Promise<ReadonlyMap<string, StoredAnswer & KeyClaim>> {
    if (claims.length === 0) return new Map();
    const claimed = await this.insert(tx, claims);
    const earlier = claims.filter(({ key }) => !claimed.has(key)).map(({ key }) => key);
    if (earlier.length === 0) return new Map();
    const stored = await tx.$queryRaw<(StoredAnswer & KeyClaim)[]>`
      SELECT key, request, status, location, body FROM idempotency_key WHERE key = ANY(${earlier}::text[])`;
    if (stored.length < earlier.length) throw new IdempotencyKeyInUseError(RETRY_AFTER_SECONDS, undefined); // cleaned up in between
    return new Map(stored.map((answer) => [answer.key, answer]));
  }

  /** Keeps the answers with the keys that this transaction has claimed. */
  async spend(tx: Transaction, answers: readonly (StoredAnswer & { readonly key: string })[]): Promise<void> {
    if (answers.length === 0) return;
    await tx.$executeRaw`
      UPDATE idempotency_key SET status = spent.status, location = spent.location, body = spent.body
      FROM unnest(
        ${answers.map(({ key }) => key)}::text[], ${answers.map(({ status }) => status)}::int[],
        ${answers.map(({ location }) => location)}::text[], ${answers.map(({ body }) => body)}::text[]
      ) AS spent(key, status, location, body)
      WHERE idempotency_key.key = spent.key`;
  }

  /** Gives back keys that this transaction has claimed for requests that were refused. */
  async release(tx: Transaction, keys: readonly string[]): Promise<void> {
    if (keys.length > 0) await tx.$executeRaw`DELETE FROM idempotency_key WHERE key = ANY(${[...keys]}::text[])`;
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
  private async insert(tx: Transaction, claims: readonly KeyClaim[]): Promise<ReadonlySet<string>> {
    try {
      const [result] = await tx.$queryRaw<{ claimed: string[] }[]>`
        WITH bound AS MATERIALIZED (
          SELECT current_setting('lock_timeout') AS before, set_config('lock_timeout', ${String(WAIT_FOR_TWIN_MS)}, true) AS now
        ), claimed AS (
          INSERT INTO idempotency_key (key, request)
          SELECT claim.key, claim.request
          FROM bound, unnest(${claims.map(({ key }) => key)}::text[], ${claims.map(({ request }) => request)}::text[]) AS claim(key, request)
          ORDER BY claim.key ON CONFLICT DO NOTHING RETURNING key
        ), listed AS MATERIALIZED (SELECT coalesce(array_agg(key), '{}') AS claimed FROM claimed)
        SELECT claimed, set_config('lock_timeout', bound.before, true) FROM listed, bound`;
      return new Set(result?.claimed);
    } catch (error) {
      if (isLockTimeout(error)) throw new IdempotencyKeyInUseError(RETRY_AFTER_SECONDS, error);
      throw error;
    }
  }
}
