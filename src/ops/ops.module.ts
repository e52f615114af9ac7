import { Module } from '@nestjs/common';
import { MetricsController } from './metrics.controller.js';
import { OpsController } from './ops.controller.js';
import { OpsQueries } from './ops.queries.js';

/** What an operator sees and does. */
@Module({ controllers: [OpsController, MetricsController], providers: [OpsQueries] })
export class OpsModule {}
