import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { IncomingMessage } from 'node:http';
import { parseJson } from './json-body.js';
import { ProblemError } from './problem-error.js';

/** The largest body that is read. */
export const BODY_LIMIT = 1024 * 1024;

/** So much of a body that is refused is still taken in: a client that is cut off while it writes does not see the answer. */
const DRAIN_LIMIT = 64 * BODY_LIMIT;

/** JSON in UTF-8 is read, an empty body is none, everything else is refused. */
export function readBodies(instance: FastifyInstance): void {
  instance.removeAllContentTypeParsers();
  instance.addContentTypeParser('application/json', async (request: FastifyRequest, payload: IncomingMessage) => {
    const bytes = await read(payload);
    if (bytes.length === 0) return undefined;
    if (!isPlainUtf8(request)) throw unsupported();
    return parseJson(bytes);
  });
  instance.addContentTypeParser('*', async (_request: FastifyRequest, payload: IncomingMessage) => {
    const bytes = await read(payload);
    if (bytes.length > 0) throw unsupported();
    return undefined;
  });
}

function isPlainUtf8({ headers }: FastifyRequest): boolean {
  const encoding = headers['content-encoding'];
  const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(headers['content-type'] ?? '')?.[1];
  return (encoding === undefined || encoding.toLowerCase() === 'identity') && (charset === undefined || /^utf-?8$/i.test(charset));
}

async function read(payload: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  await new Promise<void>((resolve, reject) => {
    const incomplete = (cause?: Error): void =>
      reject(new ProblemError(400, 'BODY_INCOMPLETE', 'The body is incomplete', 'The connection ended before the body did.', { cause }));
    payload
      .on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size <= BODY_LIMIT) chunks.push(chunk);
        if (size <= DRAIN_LIMIT) return;
        payload.pause(); // and is left open, so that the answer can still be sent
        resolve();
      })
      .once('end', resolve)
      .once('error', incomplete)
      .once('close', () => {
        if (!payload.readableEnded) incomplete(); // an error takes time to make, and every body is closed behind its end
      });
  });
  if (size > BODY_LIMIT) throw new ProblemError(413, 'BODY_TOO_LARGE', 'The body is too large', 'Send at most 1 MiB.');
  return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, size);
}

function unsupported(): ProblemError {
  const headers = { 'accept-post': 'application/json' };
  const detail = 'Send the body as application/json, in UTF-8 and not compressed.';
  return new ProblemError(415, 'UNSUPPORTED_MEDIA_TYPE', 'The body is of a kind that is not read', detail, { headers });
}
