/** What `maxMessageBytes` bounds: the payload and all header names and values, in bytes of UTF-8. */ export function messageBytes({
  headers,
  payload,
}) {
  let bytes = payload.length;
  for (const [name, value] of Object.entries(headers)) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  return bytes;
}
export function measuresLag(adapter) {
  return 'lag' in adapter;
}
export function movesOutbox(adapter) {
  return 'moveOutbox' in adapter;
}
/** This one message can never be accepted as it is: too large, unroutable, an unknown topic. */ export class MessageRejectedError extends Error {
  code = 'BROKER.MESSAGE_REJECTED';
  name = 'MessageRejectedError';
}
/** What exists at the broker contradicts the configuration; the message names the thing, both values and the cure. */ export class TopologyMismatchError extends Error {
  code = 'BROKER.TOPOLOGY_MISMATCH';
  name = 'TopologyMismatchError';
}
/** The broker cannot be reached or does not answer in time. */ export class BrokerUnavailableError extends Error {
  code = 'BROKER.UNAVAILABLE';
  name = 'BrokerUnavailableError';
}

//# sourceMappingURL=broker-adapter.js.map
