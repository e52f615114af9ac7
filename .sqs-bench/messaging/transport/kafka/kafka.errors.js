import { BrokerUnavailableError, MessageRejectedError, TopologyMismatchError } from '../broker-adapter.js';
/** The record itself is refused; no other broker state would take it. */ const RECORD_FAULTS = new Set([
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_RECORD',
  'INVALID_TIMESTAMP',
  'UNSUPPORTED_FOR_MESSAGE_FORMAT',
]);
const TOPIC_FAULTS = new Set(['UNKNOWN_TOPIC_OR_PARTITION', 'INVALID_TOPIC_EXCEPTION']);
/** The name of the error that the broker itself answered, or undefined when it did not answer: a lost connection, a time-out. */ export function protocolTypeOf(
  error,
) {
  for (let next = error; next instanceof Error; next = next.cause) {
    const { type } = next;
    if (typeof type === 'string') return type;
  }
  return undefined;
}
export function isRecordFault(type) {
  return RECORD_FAULTS.has(type);
}
export function isTopicFault(type) {
  return TOPIC_FAULTS.has(type);
}
/** An outage as the port reports it, with the cure where the error hints at one. kafkajs' texts hold no credentials. */ export function unavailable(
  what,
  cause,
  kafka,
) {
  if (cause instanceof BrokerUnavailableError || cause instanceof TopologyMismatchError || cause instanceof MessageRejectedError)
    return cause;
  const root = rootOf(cause);
  const text = root instanceof TypeError ? 'no broker answered' : root.message;
  return new BrokerUnavailableError(`${what}: ${text}${hintFor(root, kafka)}`, {
    cause,
  });
}
/** kafkajs wraps what went wrong into what it did about it. */ function rootOf(error) {
  let root = error instanceof Error ? error : new Error(String(error));
  while (root.cause instanceof Error) root = root.cause;
  return root;
}
function hintFor(error, { ssl }) {
  const text = `${error.name} ${error.message} ${protocolTypeOf(error) ?? ''}`;
  if (/wrong version number|EPROTO|packet length/i.test(text))
    return '; it does not speak TLS there: set KAFKA_SSL=false, or name the TLS port';
  if (ssl && /before secure TLS connection/i.test(text))
    return '; if it does not speak TLS there, set KAFKA_SSL=false, or name the TLS port';
  if (/certificate|self[- ]signed|issuer|altnames/i.test(text))
    return '; give the certificate authority to the configuration; checking is never switched off';
  if (/SASL/i.test(text)) return '; check the SASL mechanism, user and password of the configuration';
  if (/AUTHORIZATION_FAILED/.test(text)) return '; give the user of this application the right to it';
  if (!ssl && /closed connection|ECONNRESET|ApiVersions.*timed out/i.test(text))
    return '; if the server expects TLS there, set KAFKA_SSL=true; if it wants a login, configure SASL';
  return '';
}

//# sourceMappingURL=kafka.errors.js.map
