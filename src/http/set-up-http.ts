import helmet from '@fastify/helmet';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import type { FastifyInstance } from 'fastify';
import type { Config } from '../config/config.js';
import type { Logger } from '../observability/logger.js';
import { Metrics } from '../observability/metrics.js';
import { correlate } from './correlation.js';
import { parseJsonBody, unstorable } from './json-body.js';
import { assertOperator } from './operator.js';
import { ProblemError } from './problem-error.js';
import { ProblemFilter } from './problem-filter.js';
import { RouteTable } from './route-table.js';
import { validationPipe } from './validation-pipe.js';

const ALWAYS_SERVED = /^\/(health\/(live|ready)|metrics)(\?|$)/;
const DOCS = /^\/docs(?:[/?-]|$)/;

/** All that holds for every route; to be called before the application listens. */
export async function setUpHttp(app: NestFastifyApplication, config: Config, logger: Logger): Promise<void> {
  const server = app.getHttpAdapter().getInstance() as unknown as FastifyInstance;
  const routes = new RouteTable();
  server.addHook('onRoute', ({ method, url }) => routes.add(method, url));
  correlate(server);
  refuseEarly(server, config);
  takeJsonOnly(server);
  measure(server, app.get(Metrics), logger);
  await server.register(helmet, { contentSecurityPolicy: { directives: { 'script-src': ["'self'", "'unsafe-inline'"], 'upgrade-insecure-requests': null } } });
  app.useGlobalFilters(new ProblemFilter(routes, logger));
  app.useGlobalPipes(validationPipe());
  const document = SwaggerModule.createDocument(
    app,
    new DocumentBuilder().setTitle('Waybill').setDescription('Orders whose events always arrive').setVersion('0.1.0').addBearerAuth().build(),
  );
  SwaggerModule.setup('docs', app, document, { jsonDocumentUrl: 'docs-json' });
}

/** Before any route: what this process does not serve, what the operator alone may see, and addresses no database could take. */
function refuseEarly(server: FastifyInstance, config: Config): void {
  server.addHook('onRequest', (request, _reply, done) => {
    if (!config.roles.has('http') && !ALWAYS_SERVED.test(request.url)) throw new ProblemError(404, 'not-found', 'Not found', 'This process does not serve the role http.');
    if (config.production && !config.http.publicDocs && DOCS.test(request.url)) assertOperator(request.headers.authorization, config);
    for (const [field, value] of Object.entries(request.query as Record<string, unknown>)) {
      if (Array.isArray(value)) throw invalidQuery(field, 'must not be repeated');
      const problem = unstorable(value, field) ?? unstorable(field, 'query');
      if (problem) throw invalidQuery(problem.field, problem.message);
    }
    for (const [field, value] of Object.entries(request.params as Record<string, unknown>)) {
      const problem = unstorable(value, field);
      if (problem) throw invalidQuery(field, problem.message);
    }
    done();
  });
}

function invalidQuery(field: string, message: string): ProblemError {
  return new ProblemError(400, 'invalid-request', 'Invalid request', 'The address is not valid; each field is named.', { errors: [{ field, message }] });
}

function takeJsonOnly(server: FastifyInstance): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    if (request.headers['content-encoding'] !== undefined && request.headers['content-encoding'] !== 'identity') {
      done(new ProblemError(415, 'unsupported-media-type', 'Unsupported media type', 'Compressed bodies are not taken.'));
      return;
    }
    try {
      done(null, parseJsonBody(body as Buffer));
    } catch (error) {
      done(error as Error);
    }
  });
}

function measure(server: FastifyInstance, metrics: Metrics, logger: Logger): void {
  server.addHook('onResponse', (request, reply, done) => {
    const route = request.is404 ? 'none' : (request.routeOptions.url ?? 'none');
    metrics.httpRequestDuration.observe({ route, method: request.method, status: String(reply.statusCode) }, reply.elapsedTime / 1000);
    logger.debug({ route, method: request.method, status: reply.statusCode, ms: Math.round(reply.elapsedTime) }, 'answered');
    done();
  });
}
