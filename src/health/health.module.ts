import { Inject, Module, type OnModuleInit } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { DatabasePool } from '../database/database-pool.js';
import { MessagingStatus } from '../messaging/index.js';
import { HealthController } from './health.controller.js';
import { HealthRegistry } from './health-registry.js';

@Module({ controllers: [HealthController], providers: [HealthRegistry], exports: [HealthRegistry] })
export class HealthModule implements OnModuleInit {
  constructor(
    private readonly health: HealthRegistry,
    private readonly database: DatabasePool,
    private readonly messaging: MessagingStatus,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  onModuleInit(): void {
    this.health.register('database', () => this.checkDatabase());
    this.health.register('broker', () => this.messaging.assertBroker());
    if (this.config.roles.has('consumers')) this.health.register('consumers', () => this.messaging.assertConsuming());
  }

  private async checkDatabase(): Promise<void> {
    const [row] = await this.database
      .query<{ readonly: string }>(`SELECT current_setting('transaction_read_only') AS readonly`)
      .catch((cause: unknown) => {
        throw new Error(`PostgreSQL does not answer: ${(cause as Error).message}`, { cause });
      });
    if (row?.readonly === 'on') throw new Error('PostgreSQL is read-only: nothing can be committed');
  }
}
