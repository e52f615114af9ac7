import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Config } from '../config/config.js';
import type { KnownRoutes } from './known-routes.js';
import { demandOperator, isGuarded } from './operator.js';
import { invalidRequest, ProblemError } from './problem-error.js';
import { parseQuery } from './query-string.js';
import { flawOf } from './text-rules.js';

/** Turns away, before its body is read, what no route is to see. */
export function gateRequests(instance: FastifyInstance, config: Config, routes: KnownRoutes): void {
  instance.addHook('onRequest', (request, _reply, done) => {
    try {
      admit(request, config, routes);
      done();
    } catch (error) {
      done(error as Error);
    }
  });
}

function admit(request: FastifyRequest, config: Config, routes: KnownRoutes): void {
  const { url, headers, httpVersion } = request.raw;
  const target = url ?? '/';
  if (httpVersion === '1.1' && headers.host === undefined) {
    throw new ProblemError(400, 'HOST_MISSING', 'The request names no host', 'Send a Host header.');
  }
  const pattern = request.routeOptions.url;
  if (!config.roles.has('http') && !servedByEveryRole(pattern)) throw notFound();
  if (pattern === undefined || request.is404) throw notFoundOrNotAllowed(request, routes.methodsAt(target), config);
  // A second lock, before the body is read, whatever decorators a controller under /ops has or has forgotten.
  if (pattern.startsWith('/ops/')) demandOperator(config, headers.authorization);
  if (/^\/docs(?:$|[/-])/.test(pattern) && isGuarded(config, 'docs')) demandOperator(config, headers.authorization);
  for (const [field, value] of Object.entries(request.params as Record<string, string>)) {
    const flaw = flawOf(value);
    if (flaw !== undefined) throw invalidRequest([{ field, message: flaw }]);
  }
  request.query = parseQuery(target);
}

function servedByEveryRole(pattern: string | undefined): boolean {
  return pattern === '/metrics' || pattern?.startsWith('/health/') === true;
}

function notFound(): ProblemError {
  return new ProblemError(404, 'NOT_FOUND', 'Not Found', 'There is nothing at this address.');
}

function notFoundOrNotAllowed({ method, url, headers }: FastifyRequest, allowed: readonly string[], config: Config): ProblemError {
  if (allowed.length === 0 || allowed.includes(method)) return notFound();
  // Who may not know of the address does not learn of it by another method either.
  if (decodeURIComponent(url).startsWith('/ops/')) demandOperator(config, headers.authorization);
  const detail = `This address answers to ${allowed.join(', ')}.`;
  return new ProblemError(405, 'METHOD_NOT_ALLOWED', 'Method Not Allowed', detail, { headers: { allow: allowed.join(', ') } });
}
