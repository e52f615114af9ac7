import { messageOf } from '../../observability/redaction.js';
import { InvalidEventError, MalformedEventError, UnsupportedVersionError } from '../event/event.errors.js';
import { backoffMs } from '../transport/backoff.js';
import { NonRetryableError } from './event-consumer.js';

/** What becomes of a delivery that its handler did not manage. */
export type Disposition =
  | { readonly kind: 'retry'; readonly delayMs: number; readonly reason: string }
  | { readonly kind: 'dead-letter'; readonly reason: DeadLetterReason };

/** Why a person must decide; the words of the operator's list and of the metrics. */
export type DeadLetterReason = 'malformed' | 'invalid' | 'unsupported_version' | 'non_retryable' | 'attempts_exhausted' | 'undeliverable';

export interface RetrySettings {
  readonly maxAttempts: number;
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
}

/** Decides from the error and the number of attempts made, this one included; pure. */
export function dispositionOf(error: unknown, attempts: number, settings: RetrySettings, random?: () => number): Disposition {
  if (error instanceof MalformedEventError) return { kind: 'dead-letter', reason: 'malformed' };
  if (error instanceof InvalidEventError) return { kind: 'dead-letter', reason: 'invalid' };
  if (error instanceof UnsupportedVersionError) return { kind: 'dead-letter', reason: 'unsupported_version' };
  if (error instanceof NonRetryableError) return { kind: 'dead-letter', reason: 'non_retryable' };
  if (attempts >= settings.maxAttempts) return { kind: 'dead-letter', reason: 'attempts_exhausted' };
  return { kind: 'retry', delayMs: backoffMs(attempts, settings.baseDelayMs, settings.maxDelayMs, random), reason: describe(error) };
}

const LONGEST = 2000;
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f]/g;

/** An error in words for the operator: its name, message and causes, without stack, control characters or what must not be shown. */
export function describe(error: unknown): string {
  const parts: string[] = [];
  for (let link: unknown = error; link !== undefined && link !== null && parts.length < 4; link = (link as { cause?: unknown }).cause) {
    parts.push(link instanceof Error ? `${link.name}: ${messageOf(link)}` : String(link));
  }
  return parts.join(' ← ').replace(CONTROL, ' ').toWellFormed().slice(0, LONGEST);
}
