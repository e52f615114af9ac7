/** The data of an event that is being emitted, or was received, breaks its class's rules. */ export class InvalidEventError extends Error {
  type;
  problems;
  code = 'EVENT.INVALID';
  name = 'InvalidEventError';
  constructor(type, /** One entry a field: `items.0.quantity must be a positive number`. Never holds a value. */ problems) {
    (super(`${type} is not valid: ${problems.join('; ')}`), (this.type = type), (this.problems = problems));
  }
}
/** The bytes that came from the broker are no event at all. */ export class MalformedEventError extends Error {
  code = 'EVENT.MALFORMED';
  name = 'MalformedEventError';
}
/** The event is of a newer major version than this process knows. */ export class UnsupportedVersionError extends Error {
  code = 'EVENT.UNSUPPORTED_VERSION';
  name = 'UnsupportedVersionError';
}
/** The event does not fit through the configured broker. */ export class EventTooLargeError extends Error {
  code = 'EVENT.TOO_LARGE';
  name = 'EventTooLargeError';
}

//# sourceMappingURL=event.errors.js.map
