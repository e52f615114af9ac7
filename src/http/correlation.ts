import type { FastifyInstance } from 'fastify';
import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { withCausation } from '../messaging/event/causation.js';

export const CORRELATION_HEADER = 'x-correlation-id';

const CORRELATION_ID = /^[A-Za-z0-9._-]{1,128}$/;
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** The client's own id where it is one, else a new one. */
export function correlationIdOf(headers: IncomingHttpHeaders): string {
  const given = headers[CORRELATION_HEADER];
  return typeof given === 'string' && CORRELATION_ID.test(given) ? given : randomUUID();
}

/** The client's trace (W3C Trace Context) where it is one, else a new one. */
export function traceparentOf(headers: IncomingHttpHeaders): string {
  const given = headers['traceparent'];
  if (typeof given === 'string' && TRACEPARENT.test(given)) return given;
  return `00-${randomHex()}-${randomHex().slice(0, 16)}-01`;
}

/** 32 digits, of which 122 bits are random: Node keeps random bytes for UUIDs at hand, and asks the system for others each time. */
function randomHex(): string {
  return randomUUID().replaceAll('-', '');
}

/** Every request is handled within its causation, so that what it emits and logs carries its id; the answer carries it too. */
export function correlateRequests(instance: FastifyInstance): void {
  instance.addHook('onRequest', (request, reply, done) => {
    void reply.header(CORRELATION_HEADER, request.id);
    withCausation({ correlationid: request.id, traceparent: traceparentOf(request.headers) }, done);
  });
}
