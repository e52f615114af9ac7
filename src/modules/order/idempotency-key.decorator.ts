import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { InvalidIdempotencyKeyError } from './order.errors.js';

const KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * The header Idempotency-Key, or undefined where there is none.
 * @throws InvalidIdempotencyKeyError
 */
export const IdempotencyKey = createParamDecorator((_data: unknown, context: ExecutionContext) =>
  readIdempotencyKey(context.switchToHttp().getRequest<FastifyRequest>().headers['idempotency-key']),
);

/** @throws InvalidIdempotencyKeyError */
export function readIdempotencyKey(header: string | string[] | undefined): string | undefined {
  // Node joins a repeated header with a comma and a space, and a space is not visible.
  if (header !== undefined && (typeof header !== 'string' || !KEY.test(header))) throw new InvalidIdempotencyKeyError();
  return header;
}
