import { isUtf8 } from 'node:buffer';
/** The one attribute that holds all headers: SQS allows ten attributes and no empty value. */ const ATTRIBUTE = 'waybill';
const ATTRIBUTE_TYPE = 'String';
/** Kept free for the attribute's own text: names, quotes, escapes. */ const RESERVED_BYTES = 4 * 1024;
/**
 * The largest payload plus headers that surely fits into a queue's limit, as Base64 too: a quarter of the room is
 * for that, because whether an event is text that SQS can carry must not decide whether it can be published.
 */ export function largestPayload(queueLimit) {
  return Math.floor(((queueLimit - RESERVED_BYTES) * 3) / 4);
}
/** Payload plus headers, as the port counts them. */ export function sizeOf({ headers, payload }) {
  return Object.entries(headers).reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value), payload.length);
}
export function pack({ key, headers, payload }) {
  const encoding = encodingOf(payload);
  const body = encoding === undefined ? payload.toString('utf8') : encoding === 'empty' ? '-' : payload.toString('base64');
  const value = escaped(
    JSON.stringify({
      key,
      headers,
      ...(encoding && {
        encoding,
      }),
    }),
  );
  return {
    body,
    attributes: {
      [ATTRIBUTE]: {
        DataType: ATTRIBUTE_TYPE,
        StringValue: value,
      },
    },
    bytes: Buffer.byteLength(body) + Buffer.byteLength(value) + ATTRIBUTE.length + ATTRIBUTE_TYPE.length,
  };
}
/** What came, byte by byte as it was published; of a message that somebody else has sent, what there is. */ export function unpack(
  message,
) {
  const { Body: body = '', MessageAttributes: attributes = {}, Attributes: system = {} } = message;
  const carried = carriedBy(attributes[ATTRIBUTE]?.StringValue);
  if (!carried)
    return {
      key: system.MessageGroupId ?? null,
      headers: foreignHeaders(attributes),
      payload: Buffer.from(body, 'utf8'),
    };
  const { key, headers, encoding } = carried;
  const payload = encoding === 'empty' ? Buffer.alloc(0) : Buffer.from(body, encoding ?? 'utf8');
  return {
    key,
    headers,
    payload,
  };
}
function encodingOf(payload) {
  if (payload.length === 0) return 'empty';
  return isUtf8(payload) && isPlain(payload.toString('utf8')) ? undefined : 'base64';
}
/** Only characters that SQS is documented to take, and of these not those beyond U+FFFF, which some servers refuse. */ function isPlain(
  text,
) {
  return !/[^\t\n\r\x20-\ud7ff\ue000-\ufffd]/.test(text);
}
/** JSON that is plain text too; its control characters are escaped already. */ function escaped(json) {
  return json.replaceAll(/[\ud800-\udfff\ufffe\uffff]/g, (character) => `\\u${character.charCodeAt(0).toString(16)}`);
}
function carriedBy(value) {
  if (value === undefined) return undefined;
  try {
    const carried = JSON.parse(value);
    return typeof carried?.key === 'string' && typeof carried.headers === 'object' ? carried : undefined;
  } catch {
    return undefined; // somebody else's attribute: the message is handed over as it is, and becomes a dead letter
  }
}
function foreignHeaders(attributes) {
  const texts = Object.entries(attributes).map(([name, { StringValue: value }]) => [name, value]);
  return Object.fromEntries(texts.filter((entry) => entry[1] !== undefined));
}

//# sourceMappingURL=sqs.message.js.map
