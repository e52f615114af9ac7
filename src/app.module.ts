import { Module, type DynamicModule } from '@nestjs/common';
import { ScheduleModule } from '@nestjs/schedule';
import { ConfigModule } from './config/config.module.js';
import type { Config } from './config/config.js';
import { DatabaseModule } from './database/database.module.js';
import { HealthModule } from './health/health.module.js';
import { MessagingModule } from './messaging/index.js';
import { InventoryModule } from './modules/inventory/inventory.module.js';
import { NotifyModule } from './modules/notify/notify.module.js';
import { OrderModule } from './modules/order/order.module.js';
import { PaymentModule } from './modules/payment/payment.module.js';
import { ObservabilityModule } from './observability/observability.module.js';
import type { Logger } from './observability/logger.js';
import { OpsModule } from './ops/ops.module.js';

/** The whole application. A new module of yours goes into `imports`. */
@Module({})
export class AppModule {
  static for(config: Config, logger: Logger, databaseUrl: string): DynamicModule {
    return {
      module: AppModule,
      imports: [
        ConfigModule.for(config),
        ObservabilityModule.for(logger),
        DatabaseModule.forUrl(databaseUrl),
        ScheduleModule.forRoot(),
        MessagingModule,
        HealthModule,
        OpsModule,
        InventoryModule,
        OrderModule,
        PaymentModule.for(config),
        NotifyModule,
      ],
    };
  }
}
