import { describe, expect, it } from '@jest/globals';
import { InvalidEventError, MalformedEventError, UnsupportedVersionError } from '../event/event.errors.js';
import { NonRetryableError } from './event-consumer.js';
import { describe as inWords, dispositionOf } from './retry-policy.js';

const settings = { maxAttempts: 5, baseDelayMs: 100, maxDelayMs: 1000 };

describe('dispositionOf', () => {
  it.each([
    [new MalformedEventError('no JSON'), 'malformed'],
    [new InvalidEventError('a.b.c', ['x must be a string']), 'invalid'],
    [new UnsupportedVersionError('v9'), 'unsupported_version'],
    [new NonRetryableError('never'), 'non_retryable'],
  ])('gives %s to a person at once', (error, reason) => {
    expect(dispositionOf(error, 1, settings)).toEqual({ kind: 'dead-letter', reason });
  });

  it('retries any other error with a delay that doubles, jittered, up to its bound', () => {
    const delays = [1, 2, 3, 4].map((attempts) => dispositionOf(new Error('no'), attempts, { ...settings, maxAttempts: 9 }, () => 1));
    expect(delays).toMatchObject([100, 200, 400, 800].map((delayMs) => ({ kind: 'retry', delayMs })));
    expect(dispositionOf(new Error('no'), 8, { ...settings, maxAttempts: 9 }, () => 1)).toMatchObject({ delayMs: 1000 });
    expect(dispositionOf(new Error('no'), 1, settings, () => 0)).toMatchObject({ delayMs: 50 });
  });

  it('counts the first attempt: the fifth of five is the last', () => {
    expect(dispositionOf(new Error('no'), 4, settings)).toMatchObject({ kind: 'retry' });
    expect(dispositionOf(new Error('no'), 5, settings)).toEqual({ kind: 'dead-letter', reason: 'attempts_exhausted' });
  });
});

describe('an error in words', () => {
  it('tells the error and its causes, without what a column of text cannot hold', () => {
    const error = new Error('outer\u0000', { cause: new TypeError('inner\ud800') });
    expect(inWords(error)).toBe('Error: outer  ← TypeError: inner\ufffd');
  });

  it('shows neither the values that Prisma quotes nor the password of a URL', () => {
    const quoting = new Error(
      '\nInvalid `prisma.order.create()` invocation:\n{ data: { note: "ring twice" } }\n\nUnknown argument `notes`.',
    );
    quoting.name = 'PrismaClientValidationError';
    const error = new Error('cannot reach amqp://app:hunter2@mq', { cause: quoting });
    expect(inWords(error)).toBe('Error: cannot reach amqp://…@mq ← PrismaClientValidationError: Unknown argument `notes`.');
  });
});
