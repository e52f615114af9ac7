import {
  destination as openDestination,
  pino,
  stdTimeFunctions,
  type Bindings,
  type ChildLoggerOptions,
  type DestinationStream,
  type LogFn,
} from 'pino';
import type { Config } from '../config/config.js';
import type { Logger } from './logger.js';
import { prettyStream } from './pretty-stream.js';
import { redacted, withoutUserinfo } from './redaction.js';

export { NestLogger } from './nest-logger.js';

/**
 * A logger to standard output, or to the destination: a JSON object a line, or a line for people, and no secret in
 * either. Every line has the fields of the context that it is written in, where it does not have them itself.
 */
export function createLogger(
  config: Pick<Config, 'log' | 'instance'>,
  destination: DestinationStream = openDestination({ dest: 1, sync: true }),
  context?: () => object,
): Logger {
  const out: DestinationStream = { write: (line) => destination.write(withoutUserinfo(line)) };
  const logger = pino(
    {
      level: config.log.level,
      base: { instance: config.instance },
      timestamp: stdTimeFunctions.isoTime,
      // A copy: pino writes the fields of the line into it.
      ...(context && { mixin: () => ({ ...context() }) }),
      formatters: { level: (level) => ({ level }) },
      hooks: { logMethod: logRedacted },
      // Pino's own would copy whatever drivers hang on their errors; here they come reduced already.
      serializers: { err: (error: unknown) => error },
    },
    config.log.format === 'pretty' ? prettyStream(out) : out,
  );
  return redactChildren(logger);
}

/** Before pino sees them: it would take the message of a line that has none from the error, as it is. */
function logRedacted(this: Logger, args: unknown[], log: LogFn): void {
  const [first, message, ...rest] = args;
  if (typeof first !== 'object' || first === null) {
    log.apply(this, args as Parameters<LogFn>);
    return;
  }
  const fields = redacted(first instanceof Error ? { err: first } : (first as Record<string, unknown>));
  const { message: told } = (fields['err'] ?? {}) as { message?: string };
  log.call(this, fields, (message ?? told) as string, ...(rest as []));
}

type Child = (this: Logger, bindings: Bindings, options?: ChildLoggerOptions) => Logger;

/** Children inherit the method; pino has no formatter for their fields. */
function redactChildren(logger: Logger): Logger {
  const { child: plainChild } = logger as unknown as { readonly child: Child };
  function child(this: Logger, bindings: Bindings, options?: ChildLoggerOptions): Logger {
    return plainChild.call(this, redacted(bindings), options);
  }
  return Object.assign(logger, { child });
}
