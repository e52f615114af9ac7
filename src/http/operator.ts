import { applyDecorators, Inject, Injectable, mixin, UseGuards, type CanActivate, type ExecutionContext, type Type } from '@nestjs/common';
import { ApiBearerAuth } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import { createHash, timingSafeEqual } from 'node:crypto';
import { CONFIG, type Config } from '../config/config.js';
import { ProblemError } from './problem-error.js';

/** What an operator alone may see in production, unless the configuration makes it public. */
export type GuardedInProduction = 'metrics' | 'docs';

/** Only for the bearer of OPS_TOKEN; where none is configured, the routes do not exist. */
export function OperatorOnly(): ClassDecorator & MethodDecorator {
  return applyDecorators(UseGuards(guard(() => true)), ApiBearerAuth());
}

/** For everybody, but in production only for the bearer of OPS_TOKEN, unless it is public. */
export function OperatorInProduction(what: GuardedInProduction): ClassDecorator & MethodDecorator {
  return applyDecorators(UseGuards(guard((config) => isGuarded(config, what))));
}

export function isGuarded({ production, http }: Config, what: GuardedInProduction): boolean {
  return production && !(what === 'metrics' ? http.publicMetrics : http.publicDocs);
}

/** @throws ProblemError 404 where no token is configured, 401 for whoever does not have it */
export function demandOperator({ http }: Config, authorization: string | undefined): void {
  if (http.opsToken === undefined) throw new ProblemError(404, 'NOT_FOUND', 'Not Found', 'There is nothing at this address.');
  const token = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1] ?? '';
  // Hashed, so that the comparison takes the same time for every length.
  if (!timingSafeEqual(sha256(token), sha256(http.opsToken))) {
    throw new ProblemError(401, 'OPERATOR_ONLY', 'For operators only', "Send the operator's token: Authorization: Bearer <OPS_TOKEN>.", {
      headers: { 'www-authenticate': 'Bearer realm="operators"' },
    });
  }
}

function guard(applies: (config: Config) => boolean): Type<CanActivate> {
  @Injectable()
  class OperatorGuard implements CanActivate {
    constructor(@Inject(CONFIG) private readonly config: Config) {}

    canActivate(context: ExecutionContext): boolean {
      if (applies(this.config)) demandOperator(this.config, context.switchToHttp().getRequest<FastifyRequest>().headers.authorization);
      return true;
    }
  }
  return mixin(OperatorGuard);
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
