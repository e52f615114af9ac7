import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Config } from '../config/config.js';
import type { Logger } from '../observability/logger.js';
import { correlateRequests } from './correlation.js';
import { serveDocs } from './docs.js';
import { KnownRoutes } from './known-routes.js';
import { ProblemFilter } from './problem.filter.js';
import { gateRequests } from './request-gate.js';
import { recordRequests } from './request-records.js';
import { secureAnswers } from './security-headers.js';
import { validationPipe } from './validation-pipe.js';

/** What every route has in common. To be called before the application is initialised: only routes that come later are known. */
export function setUpHttp(app: NestFastifyApplication, config: Config, logger: Logger): void {
  const instance = app.getHttpAdapter().getInstance();
  const routes = new KnownRoutes(instance);
  correlateRequests(instance);
  recordRequests(instance, app, logger);
  secureAnswers(instance);
  gateRequests(instance, config, routes);
  app.useGlobalFilters(new ProblemFilter(logger));
  app.useGlobalPipes(validationPipe());
  if (config.roles.has('http')) serveDocs(app);
}
