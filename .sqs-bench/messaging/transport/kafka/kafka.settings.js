/** How long a connection may take to be made. */ export const CONNECT_TIMEOUT_MS = 3_000;
/**
 * Payload and headers of a message. With its key and what Kafka adds it stays below 1,048,588 bytes, the
 * default of the broker's message.max.bytes.
 */ export const MAX_MESSAGE_BYTES = 900_000;
/** What a topic must accept so that MAX_MESSAGE_BYTES holds. */ export const MAX_RECORD_BATCH_BYTES = 1_048_588;

//# sourceMappingURL=kafka.settings.js.map
