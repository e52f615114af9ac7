import type { LoggerService } from '@nestjs/common';
import type { Logger } from './logger.js';

/** What Nest tells of its own start: one line a module and route, which nobody reads until something is missing. */
const START_UP_CONTEXTS = new Set([
  'InstanceLoader',
  'NestFactory',
  'NestApplication',
  'NestApplicationContext',
  'NestMicroservice',
  'RoutesResolver',
  'RouterExplorer',
  'WebSocketsController',
]);

/** Nest's own lines, in our log: structured, and its start-up at debug. */
export class NestLogger implements LoggerService {
  constructor(private readonly logger: Logger) {}

  log(message: unknown, ...rest: unknown[]): void {
    const context = contextOf(rest);
    this.write(START_UP_CONTEXTS.has(context ?? '') ? 'debug' : 'info', message, rest);
  }

  fatal(message: unknown, ...rest: unknown[]): void {
    this.write('fatal', message, rest);
  }

  error(message: unknown, ...rest: unknown[]): void {
    this.write('error', message, rest);
  }

  warn(message: unknown, ...rest: unknown[]): void {
    this.write('warn', message, rest);
  }

  debug(message: unknown, ...rest: unknown[]): void {
    this.write('debug', message, rest);
  }

  verbose(message: unknown, ...rest: unknown[]): void {
    this.write('trace', message, rest);
  }

  private write(level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal', message: unknown, rest: readonly unknown[]): void {
    const context = contextOf(rest);
    const stack = rest.slice(0, -1).find((value) => typeof value === 'string' && value.includes('\n    at '));
    const err = message instanceof Error ? message : rest.find((value) => value instanceof Error);
    const fields = { ...(context !== undefined && { context }), ...(stack !== undefined && { stack }), ...(err !== undefined && { err }) };
    if (typeof message === 'object' && message !== null && !(message instanceof Error)) this.logger[level]({ ...fields, ...message });
    else this.logger[level](fields, message instanceof Error ? message.message : String(message));
  }
}

/** Nest hands the name of the speaker over as the last argument. */
function contextOf(rest: readonly unknown[]): string | undefined {
  const last = rest.at(-1);
  return typeof last === 'string' && !last.includes('\n') ? last : undefined;
}
