import { Global, Module, type DynamicModule, type OnModuleInit } from '@nestjs/common';
import { collectDefaultMetrics } from 'prom-client';
import { LOGGER, type Logger } from './logger.js';
import { Metrics } from './metrics.js';

/** Gives every module the logger and the metrics. */
@Global()
@Module({})
export class ObservabilityModule implements OnModuleInit {
  constructor(private readonly metrics: Metrics) {}

  static for(logger: Logger): DynamicModule {
    return { module: ObservabilityModule, providers: [{ provide: LOGGER, useValue: logger }, Metrics], exports: [LOGGER, Metrics] };
  }

  onModuleInit(): void {
    collectDefaultMetrics({ register: this.metrics.registry });
  }
}
