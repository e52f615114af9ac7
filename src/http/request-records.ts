import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance } from 'fastify';
import type { Logger } from '../observability/logger.js';
import { Metrics } from '../observability/metrics.js';

const UNMATCHED = 'unmatched';
/** What is red says so itself, once, and not at each question. */
const PROBES = /^\/(health\/|metrics$)/;

/** One line and one measure a request, by the route's pattern: neither its address nor its body. */
export function recordRequests(instance: FastifyInstance, app: NestFastifyApplication, logger: Logger): void {
  const metrics = metricsOf(app);
  instance.addHook('onResponse', (request, reply, done) => {
    const facts = { method: request.method, route: request.routeOptions.url ?? UNMATCHED, status: reply.statusCode };
    const ms = Math.round(reply.elapsedTime * 10) / 10;
    logger[facts.status >= 500 && !PROBES.test(facts.route) ? 'info' : 'debug'](
      { ...facts, ms, correlationId: request.id },
      'answered a request',
    );
    metrics?.httpRequestDuration.observe({ ...facts, status: String(facts.status) }, reply.elapsedTime / 1000);
    done();
  });
}

function metricsOf(app: NestFastifyApplication): Metrics | undefined {
  try {
    return app.get(Metrics, { strict: false });
  } catch {
    return undefined; // an application without ObservabilityModule is not measured
  }
}
