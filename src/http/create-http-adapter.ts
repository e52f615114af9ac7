import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import type { IncomingMessage } from 'node:http';
import type { Config } from '../config/config.js';
import type { Logger } from '../observability/logger.js';
import { closeWithoutWaiting } from './closing.js';
import { correlationIdOf } from './correlation.js';
import { ProblemFilter } from './problem.filter.js';
import { answerBadConnection, refuseExpectation } from './raw-answers.js';
import { BODY_LIMIT, readBodies } from './request-body.js';

const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 20_000;
const CHECK_CONNECTIONS_EVERY_MS = 1000;
/** Of a connection on which nothing moves at all; longer than a load balancer keeps one open. */
const IDLE_TIMEOUT_MS = 75_000;
const LONGEST_PARAM = 16 * 1024;

/** Bodies are read by `readBodies` alone; Nest would add forms and a JSON parser of its own. */
class HttpAdapter extends FastifyAdapter {
  override registerParserMiddleware(): void {
    // nothing: see above
  }
}

/** Fastify, closed to slow clients and large bodies, and answering what never becomes a request with a problem document too. */
export function createHttpAdapter(_config: Config, logger: Logger): FastifyAdapter {
  const filter = new ProblemFilter(logger);
  const adapter = new HttpAdapter({
    http: { connectionsCheckingInterval: CHECK_CONNECTIONS_EVERY_MS, headersTimeout: HEADERS_TIMEOUT_MS, requireHostHeader: false },
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: IDLE_TIMEOUT_MS,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    bodyLimit: BODY_LIMIT,
    trustProxy: false,
    logger: false,
    genReqId: (request: IncomingMessage) => correlationIdOf(request.headers),
    routerOptions: { caseSensitive: true, ignoreTrailingSlash: false, ignoreDuplicateSlashes: false, maxParamLength: LONGEST_PARAM },
    clientErrorHandler: answerBadConnection,
    frameworkErrors: (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => filter.answer(error, request, reply),
  });
  const instance = adapter.getInstance();
  instance.server.on('checkExpectation', refuseExpectation);
  closeWithoutWaiting(instance.server);
  instance.addHook('onSend', (_request, reply, payload, done) => {
    // A kept connection would hold up the server's end until its client lets go.
    if (!instance.server.listening) void reply.header('connection', 'close');
    done(null, payload);
  });
  readBodies(instance);
  return adapter;
}
