// @ts-check
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { inRoot } from '../lib/root.mjs';

/**
 * @typedef {Record<string, unknown> & { msg?: string, level?: number | string }} LogLine
 * @typedef {object} App
 * @property {string} url
 * @property {(method: string, path: string, body?: unknown) => Promise<{ status: number, body: any }>} call with the operator's token
 * @property {(listener: (line: LogLine) => void) => void} onLog
 * @property {() => Promise<void>} stop
 */

const READY_MS = 90_000;

/**
 * Starts the built application and waits until it says that it is ready.
 * @param {{ port: number, token: string, env: NodeJS.ProcessEnv }} options
 * @returns {Promise<App>}
 */
export async function startApp({ port, token, env }) {
  const child = spawn(process.execPath, ['--enable-source-maps', inRoot('dist', 'main.js')], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  /** @type {((line: LogLine) => void)[]} */
  const listeners = [];
  /** @type {string[]} */
  const tail = [];
  /** @param {string} text */
  const keep = (text) => {
    tail.push(text);
    if (tail.length > 20) tail.shift();
  };
  createInterface({ input: child.stdout }).on('line', (text) => {
    keep(text);
    try {
      const line = JSON.parse(text);
      for (const listener of listeners) listener(line);
    } catch {
      // Not one of the application's log lines; `tail` has it for the error message.
    }
  });
  createInterface({ input: child.stderr }).on('line', keep);
  const exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code)));
  /** @type {unknown} */
  let ended;
  void exited.then((how) => (ended = how));

  const url = `http://127.0.0.1:${port}`;
  /** @type {App['call']} */
  const call = async (method, path, body) => {
    const response = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(10_000),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
  };

  const deadline = Date.now() + READY_MS;
  for (;;) {
    if (ended !== undefined) throw new Error(`The application ended (${ended}) before it was ready:\n${tail.join('\n')}`);
    const ready = await call('GET', '/health/ready').catch(() => undefined); // not listening yet
    if (ready?.status === 200) break;
    if (Date.now() > deadline)
      throw new Error(`The application was not ready in time: ${JSON.stringify(ready?.body ?? 'no answer')}\n${tail.join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return {
    url,
    call,
    onLog: (listener) => void listeners.push(listener),
    stop: async () => {
      process.removeListener('exit', kill);
      child.kill('SIGTERM');
      const timer = setTimeout(kill, 20_000);
      await exited;
      clearTimeout(timer);
    },
  };
}
