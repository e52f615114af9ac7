import helmet from '@fastify/helmet';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Config } from '../config/config.js';
import type { Logger } from '../observability/logger.js';
import { correlateRequests } from './correlation.js';
import { serveDocs } from './docs.js';
import { KnownRoutes } from './known-routes.js';
import { ProblemFilter } from './problem.filter.js';
import { gateRequests } from './request-gate.js';
import { recordRequests } from './request-records.js';
import { validationPipe } from './validation-pipe.js';

/** Swagger's page needs its own scripts, styles and pictures; nothing else is a page. */
const CONTENT_SECURITY_POLICY = {
  useDefaults: false,
  directives: {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'"],
    styleSrc: ["'self'", "'unsafe-inline'"],
    imgSrc: ["'self'", 'data:'],
    connectSrc: ["'self'"],
    baseUri: ["'none'"],
    formAction: ["'none'"],
    frameAncestors: ["'none'"],
  },
};

/** What every route has in common. To be called before the application is initialised: only routes that come later are known. */
export function setUpHttp(app: NestFastifyApplication, config: Config, logger: Logger): void {
  const instance = app.getHttpAdapter().getInstance();
  const routes = new KnownRoutes(instance);
  correlateRequests(instance);
  recordRequests(instance, app, logger);
  void app.register(helmet, { contentSecurityPolicy: CONTENT_SECURITY_POLICY });
  gateRequests(instance, config, routes);
  app.useGlobalFilters(new ProblemFilter(logger));
  app.useGlobalPipes(validationPipe());
  if (config.roles.has('http')) serveDocs(app);
}
