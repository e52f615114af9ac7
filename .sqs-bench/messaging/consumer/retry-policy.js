import { InvalidEventError, MalformedEventError, UnsupportedVersionError } from '../event/event.errors.js';
import { backoffMs } from '../transport/backoff.js';
import { NonRetryableError } from './event-consumer.js';
/** Decides from the error and the number of attempts made, this one included; pure. */ export function dispositionOf(
  error,
  attempts,
  settings,
  random,
) {
  if (error instanceof MalformedEventError)
    return {
      kind: 'dead-letter',
      reason: 'malformed',
    };
  if (error instanceof InvalidEventError)
    return {
      kind: 'dead-letter',
      reason: 'invalid',
    };
  if (error instanceof UnsupportedVersionError)
    return {
      kind: 'dead-letter',
      reason: 'unsupported_version',
    };
  if (error instanceof NonRetryableError)
    return {
      kind: 'dead-letter',
      reason: 'non_retryable',
    };
  if (attempts >= settings.maxAttempts)
    return {
      kind: 'dead-letter',
      reason: 'attempts_exhausted',
    };
  return {
    kind: 'retry',
    delayMs: backoffMs(attempts, settings.baseDelayMs, settings.maxDelayMs, random),
    reason: describe(error),
  };
}
const LONGEST = 2000;
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f]/g;
/** An error in words for the operator: its name, message and causes, without stack or control characters. */ export function describe(
  error,
) {
  const parts = [];
  for (let link = error; link !== undefined && link !== null && parts.length < 4; link = link.cause) {
    parts.push(link instanceof Error ? `${link.name}: ${link.message}` : String(link));
  }
  return parts.join(' ← ').replace(CONTROL, ' ').toWellFormed().slice(0, LONGEST);
}

//# sourceMappingURL=retry-policy.js.map
