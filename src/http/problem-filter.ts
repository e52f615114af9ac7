import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { STATUS_CODES } from 'node:http';
import { isDatabaseUnavailable } from '../database/database-errors.js';
import type { Logger } from '../observability/logger.js';
import { ProblemError } from './problem-error.js';
import type { RouteTable } from './route-table.js';

const DETAILS: Readonly<Record<string, string>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'The body must be application/json.',
  FST_ERR_CTP_BODY_TOO_LARGE: 'The body is larger than this server takes.',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'The body is not as long as its Content-Length says.',
  FST_ERR_BAD_URL: 'The URL is not well-formed.',
};

/** Turns whatever goes wrong into a problem document. What a client has done wrong is told; what we have is logged, once. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(
    private readonly routes: RouteTable,
    private readonly logger: Logger,
  ) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const reply = http.getResponse<FastifyReply>();
    if (reply.sent) return;
    sendProblem(reply, this.problemOf(error, request));
  }

  private problemOf(error: unknown, request: FastifyRequest): ProblemError {
    if (error instanceof ProblemError) return error;
    if (request.is404) {
      const methods = this.routes.methodsOf(request.url);
      if (methods.length > 0) {
        return new ProblemError(405, 'method-not-allowed', 'Method not allowed', `This path takes ${methods.join(', ')}.`, { headers: { allow: methods.join(', ') } });
      }
      return new ProblemError(404, 'not-found', 'Not found', 'There is nothing here.');
    }
    const { code, statusCode } = error as { code?: string; statusCode?: number };
    const status = error instanceof HttpException ? error.getStatus() : typeof code === 'string' && code.startsWith('FST_') ? (statusCode ?? 500) : 500;
    if (status < 500) {
      const title = STATUS_CODES[status] ?? 'Bad request';
      return new ProblemError(status, title.toLowerCase().replaceAll(' ', '-'), title, DETAILS[code ?? ''] ?? `${title}.`);
    }
    if (isDatabaseUnavailable(error)) {
      this.logger.warn({ err: error, method: request.method, route: request.routeOptions.url }, 'a request failed: the database cannot be used');
      return new ProblemError(503, 'database-unavailable', 'Try again soon', 'The database cannot be used at the moment; nothing was changed.', { headers: { 'retry-after': '1' } });
    }
    this.logger.error({ err: error, method: request.method, route: request.routeOptions.url }, 'a request failed unexpectedly');
    return new ProblemError(500, 'internal', 'Internal error', 'Something went wrong here; it was logged under the correlation id of this answer.');
  }
}

export function sendProblem(reply: FastifyReply, problem: ProblemError): void {
  const { status, code, title, detail, options } = problem;
  void reply
    .status(status)
    .headers(options.headers ?? {})
    .header('content-type', 'application/problem+json; charset=utf-8')
    .header('cache-control', 'no-store')
    .send(JSON.stringify({ type: `urn:waybill:problem:${code}`, title, status, detail, ...(options.errors && { errors: options.errors }), ...options.extensions }));
}
