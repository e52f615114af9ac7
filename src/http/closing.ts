import type { Server } from 'node:http';

const REAP_EVERY_MS = 50;

/**
 * Lets a server that was told to close end as soon as its last request is answered. By itself it ends the
 * connections that are idle at that moment, and then waits for every other one's client to let go: also for one
 * that was answered before its body had been read to the end, and is idle only a little later.
 */
export function closeWithoutWaiting(server: Server): void {
  const close = server.close.bind(server);
  server.close = (callback) => {
    const reaping = setInterval(() => server.closeIdleConnections(), REAP_EVERY_MS);
    server.once('close', () => clearInterval(reaping));
    return close((error) => {
      clearInterval(reaping);
      callback?.(error);
    });
  };
}
