import { describe, expect, it } from '@jest/globals';
import { createLogger, NestLogger } from './create-logger.js';
import type { Logger } from './logger.js';

const SECRET = 'hunter2-canary';

function recording(format: 'json' | 'pretty' = 'json', level: 'trace' | 'info' = 'trace'): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  return {
    logger: createLogger({ instance: 'test-1', log: { level, format } }, { write: (line: string) => void lines.push(line) }),
    lines,
  };
}

function entryOf(lines: string[]): Record<string, unknown> {
  expect(lines).toHaveLength(1);
  return JSON.parse(lines[0] ?? '') as Record<string, unknown>;
}

describe('createLogger', () => {
  it('writes one JSON object a line: level in words, ISO time, instance, fields, message', () => {
    const { logger, lines } = recording();
    logger.info({ eventId: 'e1', attempt: 2 }, 'handled');
    expect(lines[0]).toMatch(/^\{.*\}\n$/);
    expect(entryOf(lines)).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      instance: 'test-1',
      eventId: 'e1',
      attempt: 2,
      msg: 'handled',
    });
  });

  it('has the fields of the context that it is written in, unless the line has its own', () => {
    const lines: string[] = [];
    const config = { instance: 'test-1', log: { level: 'info', format: 'json' } } as const;
    let context: object = { correlationId: 'c1', traceId: 't1' };
    const logger = createLogger(config, { write: (line: string) => void lines.push(line) }, () => context);
    logger.info({ correlationId: 'c2' }, 'of another');
    logger.child({ group: 'g' }).info('in the context');
    context = {};
    logger.info('outside');
    const [own, child, outside] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(own).toMatchObject({ correlationId: 'c2', traceId: 't1', msg: 'of another' });
    expect(child).toMatchObject({ group: 'g', correlationId: 'c1', traceId: 't1', msg: 'in the context' });
    expect(Object.keys(outside ?? {})).not.toContain('traceId');
  });

  it('keeps to its level', () => {
    const { logger, lines } = recording('json', 'info');
    logger.debug('unseen');
    expect(lines).toEqual([]);
  });

  it.each([
    ['a token', { paymentToken: SECRET }],
    ['a token deep in an object', { order: { items: [{ payment: { paymentToken: SECRET } }] } }],
    ['a note', { note: SECRET }],
    ['a header', { headers: { Authorization: `Bearer ${SECRET}`, cookie: SECRET } }],
    ['a password', { sasl: { username: 'app', password: SECRET } }],
    ["a URL's userinfo", { url: `postgresql://app:${SECRET}@db:5432/app` }],
    ["a URL's userinfo with an @ in the password", { url: `postgresql://app:p@${SECRET}@db:5432/app` }],
    ['an array of URLs', { urls: [`amqps://app:${SECRET}@mq`] }],
    ['an error that quotes a URL', { err: new Error(`cannot reach amqp://app:${SECRET}@mq`) }],
    ['the cause of an error', { err: new Error('outer', { cause: new Error(`redis://:${SECRET}@cache`) }) }],
    [
      'what a driver hangs on its error',
      { err: Object.assign(new Error('failed'), { detail: `(${SECRET})`, meta: { args: SECRET }, config: { note: SECRET } }) },
    ],
    [
      "Prisma's quotation of the arguments",
      {
        err: Object.assign(new Error(`Invalid invocation:\n\n{ data: { note: "${SECRET}" } }\n\nArgument id is missing.`), {
          name: 'PrismaClientValidationError',
        }),
      },
    ],
    ['an error at another place', { reason: new Error(`amqp://a:${SECRET}@mq`) }],
    ['bytes', { payload: Buffer.from(SECRET) }],
  ])('never shows %s', (_what, fields) => {
    for (const format of ['json', 'pretty'] as const) {
      const { logger, lines } = recording(format);
      logger.error(fields, 'failed');
      logger.child(fields).error('failed in a child');
      logger.error(fields);
      expect(lines).toHaveLength(3);
      expect(lines.join('')).not.toContain(SECRET);
    }
  });

  it('never shows a credential of the message', () => {
    const { logger, lines } = recording();
    logger.warn(`lost amqp://app:${SECRET}@mq:5672/%2f`);
    expect(entryOf(lines)['msg']).toBe('lost amqp://…@mq:5672/%2f');
  });

  it('keeps what tells the fault: type, message, code, stack, causes', () => {
    const { logger, lines } = recording();
    const cause = Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
    logger.error({ err: new TypeError('broken', { cause }) }, 'failed');
    expect(entryOf(lines)['err']).toMatchObject({
      type: 'TypeError',
      message: 'broken',
      stack: expect.stringMatching(/^TypeError: broken\n +at /),
      cause: { type: 'Error', message: 'refused', code: 'ECONNREFUSED' },
    });
  });

  it('survives circular and deep fields', () => {
    const { logger, lines } = recording();
    const circular: Record<string, unknown> = { a: 1 };
    circular['self'] = circular;
    logger.info({ circular }, 'x');
    expect(entryOf(lines)['circular']).toEqual({ a: 1, self: '[circular]' });
  });

  it.each(['json', 'pretty'] as const)('one event stays one line in %s, whatever it holds', (format) => {
    const { logger, lines } = recording(format);
    logger.info({ key: 'a\r\n{"level":"fatal"}\u001b[31m' }, 'ends\r\nFAKE\u001b[2J\u2028line');
    expect(lines).toHaveLength(1);
    expect(lines[0]?.trimEnd()).not.toMatch(/[\n\r\u001b]/);
  });

  it('pretty: time, level, message and fields', () => {
    const { logger, lines } = recording('pretty');
    logger.info({ group: 'inventory', attempt: 1 }, 'handled');
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} INFO {2}handled {2}group=inventory attempt=1\n$/);
  });

  it("pretty: an error's stack below, a warning's reason beside", () => {
    const { logger, lines } = recording('pretty');
    logger.error({ err: new Error('broken') }, 'failed');
    logger.warn({ err: new Error('away') }, 'waiting');
    expect(lines[0]).toMatch(/ERROR failed\nError: broken\n +at /);
    expect(lines[1]).toMatch(/WARN {2}waiting \(away\)\n$/);
  });
});

describe('NestLogger', () => {
  it('tells of the start-up at debug only, with its context', () => {
    const { logger, lines } = recording();
    new NestLogger(logger).log('Mapped {/orders, POST} route', 'RouterExplorer');
    expect(entryOf(lines)).toMatchObject({ level: 'debug', context: 'RouterExplorer', msg: 'Mapped {/orders, POST} route' });
  });

  it('passes other lines at their level', () => {
    const { logger, lines } = recording();
    const nest = new NestLogger(logger);
    nest.log('hello', 'Shop');
    nest.warn('careful', 'Shop');
    nest.fatal('over', 'Shop');
    nest.verbose('detail', 'Shop');
    expect(lines.map((line) => (JSON.parse(line) as { level: string }).level)).toEqual(['info', 'warn', 'fatal', 'trace']);
  });

  it('keeps the stack and the error', () => {
    const { logger, lines } = recording();
    const error = new Error('broken');
    new NestLogger(logger).error(error.message, error.stack, 'ExceptionsHandler');
    new NestLogger(logger).error(error, 'ExceptionsHandler');
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      level: 'error',
      msg: 'broken',
      context: 'ExceptionsHandler',
      stack: expect.stringContaining('at '),
    });
    expect(JSON.parse(lines[1] ?? '')).toMatchObject({ level: 'error', msg: 'broken', err: { message: 'broken' } });
  });
});
