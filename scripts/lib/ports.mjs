// @ts-check
import net from 'node:net';

/**
 * WARNING: ports are taken from below every system's ephemeral range. In that range a client that reconnects to a stopped
 * server can be given the server's own port, which then connects the client to itself and keeps the server from coming back.
 */
const FIRST = 20_000;
const LAST = 31_999;

/** Ports of 127.0.0.1 that nobody listens on, all different. @param {number} count */
export async function freePorts(count) {
  /** @type {Set<number>} */
  const ports = new Set();
  for (let tries = 0; ports.size < count; tries++) {
    if (tries > 1000) throw new Error(`No ${count} free ports were found on 127.0.0.1 between ${FIRST} and ${LAST}.`);
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST + 1));
    if (!ports.has(port) && (await isFree(port))) ports.add(port);
  }
  return [...ports];
}

/** One free port of 127.0.0.1. */
export async function freePort() {
  const [port] = await freePorts(1);
  return /** @type {number} */ (port);
}

/** Whether something accepts connections there now. @param {string} host @param {number} port @param {number} [timeoutMs] @returns {Promise<boolean>} */
export function canConnect(host, port, timeoutMs = 1000) {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port, timeout: timeoutMs });
    /** @param {boolean} answer */
    const end = (answer) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
    socket.once('timeout', () => end(false));
  });
}

/** @param {number} port @returns {Promise<boolean>} */
function isFree(port) {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
