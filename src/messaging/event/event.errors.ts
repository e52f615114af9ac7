/** The data of an event that is being emitted, or was received, breaks its class's rules. */
export class InvalidEventError extends Error {
  readonly code = 'EVENT.INVALID';
  override readonly name = 'InvalidEventError';
  constructor(
    readonly type: string,
    /** One entry a field: `items.0.quantity must be a positive number`. Never holds a value. */
    readonly problems: readonly string[],
  ) {
    super(`${type} is not valid: ${problems.join('; ')}`);
  }
}

/** The bytes that came from the broker are no event at all. */
export class MalformedEventError extends Error {
  readonly code = 'EVENT.MALFORMED';
  override readonly name = 'MalformedEventError';
}

/** The event is of a newer major version than this process knows. */
export class UnsupportedVersionError extends Error {
  readonly code = 'EVENT.UNSUPPORTED_VERSION';
  override readonly name = 'UnsupportedVersionError';
}

/** The event does not fit through the configured broker. */
export class EventTooLargeError extends Error {
  readonly code = 'EVENT.TOO_LARGE';
  override readonly name = 'EventTooLargeError';
}
