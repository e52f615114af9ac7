import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { isDatabaseUnavailable, isRetryableConflict, isStatementTimeout, isTransactionExpired } from '../database/database-errors.js';
import type { Logger } from '../observability/logger.js';
import { CORRELATION_HEADER } from './correlation.js';
import { documentOf, documentOfStatus, PROBLEM_JSON, type ProblemDocument } from './problem-document.js';
import { ProblemError } from './problem-error.js';

interface Answer {
  readonly document: ProblemDocument;
  readonly headers: Readonly<Record<string, string>>;
}

/** Answers every error, the framework's own included, with a problem document; what nobody expected is logged, never shown. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(private readonly logger: Logger) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    this.answer(error, http.getRequest<FastifyRequest>(), http.getResponse<FastifyReply>());
  }

  /** For what fails before Nest has the request. */
  answer(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const { document, headers } = this.answerTo(error, request);
    if (reply.sent || reply.raw.headersSent) return;
    // A buffer, because Fastify adds a charset to the media type of JSON text, and RFC 9457 knows none.
    void reply
      .status(document.status)
      .headers({ ...headers, [CORRELATION_HEADER]: request.id, 'x-content-type-options': 'nosniff' })
      .type(PROBLEM_JSON)
      .send(Buffer.from(JSON.stringify(document)));
  }

  private answerTo(error: unknown, request: FastifyRequest): Answer {
    if (error instanceof ProblemError) return { document: documentOf(error), headers: error.headers };
    const facts = { err: error, correlationId: request.id, method: request.method, route: request.routeOptions.url };
    if (isDatabaseUnavailable(error) || isRetryableConflict(error) || isTransactionExpired(error) || isStatementTimeout(error)) {
      this.logger.warn(facts, 'a request was refused because the database is not available');
      return { document: documentOfStatus(503), headers: { 'retry-after': '1' } };
    }
    const status = statusOf(error);
    if (status >= 500) this.logger.error(facts, 'a request failed');
    return { document: documentOfStatus(status), headers: {} };
  }
}

/**
 * What Nest and Fastify refuse has a status; their words are not passed on, because they can quote the request. A
 * status that another library hung on its error is not meant for our client.
 */
function statusOf(error: unknown): number {
  if (error instanceof HttpException) return error.getStatus();
  const { code, statusCode } = (error ?? {}) as { code?: unknown; statusCode?: unknown };
  return typeof code === 'string' && code.startsWith('FST_') && typeof statusCode === 'number' ? statusCode : 500;
}
