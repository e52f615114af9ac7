import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import pg from 'pg';
import { LOGGER, type Logger } from '../observability/logger.js';
import { DATABASE_URL, poolConfig, reportLosses } from './database.js';

const TIMEOUT_MS = 10_000;
const CONNECTIONS = 6;
const NAME = 'waybill-messaging';

/**
 * The messaging machinery's own few connections: handlers that use up the domain's pool cannot stop the
 * relay, the leases or the parking of what failed.
 */
@Injectable()
export class DatabasePool implements OnModuleDestroy {
  readonly pool: pg.Pool;

  constructor(@Inject(DATABASE_URL) url: string, @Inject(LOGGER) logger: Logger) {
    this.pool = new pg.Pool(poolConfig(url, { max: CONNECTIONS, name: NAME, timeoutMs: TIMEOUT_MS }));
    reportLosses(this.pool, NAME, logger);
  }

  async query<R extends pg.QueryResultRow>(text: string, values: unknown[] = []): Promise<R[]> {
    return (await this.pool.query<R>(text, values)).rows;
  }

  /** One transaction on one connection; the connection is thrown away when its state is unknown. */
  async transaction<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await this.pool.connect();
    let broken = false;
    try {
      await client.query('BEGIN');
      const result = await work(client);
      await client.query('COMMIT');
      return result;
    } catch (error) {
      await client.query('ROLLBACK').catch(() => (broken = true)); // the first error is the one that tells
      throw error;
    } finally {
      client.release(broken);
    }
  }

  async onModuleDestroy(): Promise<void> {
    await this.pool.end();
  }
}
