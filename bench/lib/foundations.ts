import { Global, Module } from '@nestjs/common';
import { CONFIG } from '../../src/config/config.js';
import { readConfig } from '../../src/config/read-config.js';
import { createLogger } from '../../src/observability/create-logger.js';
import { LOGGER } from '../../src/observability/logger.js';
import { Metrics } from '../../src/observability/metrics.js';

const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('BENCH_')));

/** The application's configuration, of a subject's own environment. */
export const config = readConfig(env);
export const logger = createLogger(config);

/** What the application has everywhere. */
@Global()
@Module({
  providers: [{ provide: CONFIG, useValue: config }, { provide: LOGGER, useValue: logger }, Metrics],
  exports: [CONFIG, LOGGER, Metrics],
})
export class Foundations {}
