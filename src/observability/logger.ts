import type { Logger as PinoLogger } from 'pino';

/** Structured logs: `logger.info({ eventId, key, group }, 'handled')`. Never pass event data, tokens or notes. */
export type Logger = PinoLogger;

/** Injection token of the process's Logger. */
export const LOGGER = Symbol('LOGGER');
