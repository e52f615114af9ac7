import { Inject, Module, type OnModuleInit } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { DatabasePool } from '../database/database-pool.js';
import { MessagingStatus } from '../messaging/index.js';
import { LOGGER, type Logger } from '../observability/logger.js';
import { HealthController } from './health.controller.js';
import { HealthRegistry } from './health-registry.js';

const CLOCK_TOLERANCE_MS = 10_000;

@Module({ controllers: [HealthController], providers: [HealthRegistry], exports: [HealthRegistry] })
export class HealthModule implements OnModuleInit {
  private clocksDiffer = false;

  constructor(
    private readonly health: HealthRegistry,
    private readonly database: DatabasePool,
    private readonly messaging: MessagingStatus,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onModuleInit(): void {
    this.health.register('database', () => this.checkDatabase());
    this.health.register('broker', () => this.messaging.assertBroker());
    if (this.config.roles.has('relay')) this.health.register('relay', () => this.messaging.assertRelaying());
    if (this.config.roles.has('consumers')) this.health.register('consumers', () => this.messaging.assertConsuming());
  }

  private async checkDatabase(): Promise<void> {
    const [row] = await this.database
      .query<{ readonly: string; now: number }>(
        `SELECT current_setting('transaction_read_only') AS readonly, extract(epoch FROM clock_timestamp())::float8 * 1000 AS now`,
      )
      .catch((cause: unknown) => {
        throw new Error(`PostgreSQL does not answer: ${(cause as Error).message}`, { cause });
      });
    if (row) this.compareClocks(row.now);
    if (row?.readonly === 'on') throw new Error('PostgreSQL is read-only: nothing can be committed');
  }

  /** Nothing depends on the clocks being equal, but times in events, logs and latencies are read by people. */
  private compareClocks(databaseNow: number): void {
    const aheadMs = Math.round(Date.now() - databaseNow);
    const differ = Math.abs(aheadMs) > CLOCK_TOLERANCE_MS;
    if (differ && !this.clocksDiffer) this.logger.warn({ aheadMs }, "this machine's clock and the database's differ");
    this.clocksDiffer = differ;
  }
}
