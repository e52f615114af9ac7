// @ts-check
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { keep, removeAtEnd } from '../lib/guard.mjs';
import { canConnect } from '../lib/ports.mjs';
import { ended, freezeTree, killTree, processTree, signal } from '../lib/process-tree.mjs';

/**
 * @typedef {'postgres' | 'kafka' | 'rabbitmq' | 'sqs'} ServerName
 *
 * @typedef {object} Server A server that runs, and the means to make it fail.
 * @property {ServerName} name
 * @property {string} description what it is, for people: "Kafka 4.1.1 (Java 17)"
 * @property {Record<string, string>} env what the app must be told to use it
 * @property {readonly number[]} pids all its processes that run now
 * @property {string} dir its data and its log
 * @property {() => Promise<void>} start runs it again on the same port with the same data; resolves when a client has been served
 * @property {() => Promise<void>} stop ends it in order; its data stay
 * @property {() => Promise<void>} kill ends all its processes at once (SIGKILL); its data stay as they are
 * @property {() => void} freeze suspends all its processes: connections stay open and nothing answers
 * @property {() => void} thaw lets them go on
 * @property {() => Promise<void>} dispose stops it and removes its data, unless they are in a folder that was named by the caller
 *
 * @typedef {object} StartOptions
 * @property {string} [dir] a folder that keeps the data; without it they are in a temporary one
 * @property {number} [port]
 * @property {number} [advertisedPort] where Kafka tells its clients that it is, when a proxy stands before it
 * @property {Readonly<Record<string, string>>} [settings] more of PostgreSQL's
 * @property {(text: string) => void} [onProgress] is told what takes time
 * @property {'elasticmq' | 'fauxqs'} [variant] which of the two SQS servers
 *
 * @typedef {object} Recipe How to run one kind of server.
 * @property {ServerName} name
 * @property {() => string} description
 * @property {Record<string, string>} env
 * @property {string} dir
 * @property {boolean} temporary whether `dir` goes when the server is disposed of
 * @property {number} port
 * @property {() => Promise<import('node:child_process').ChildProcess[]>} launch starts its processes, the server itself last
 * @property {() => Promise<unknown>} check the first operation of a real client
 * @property {NodeJS.Signals} stopSignal what the server ends in order on
 * @property {() => Promise<unknown>} [askToStop] the same for Windows, which has no signals
 */

const START_LIMIT_MS = 90_000;
const STOP_LIMIT_MS = 30_000;

/** The folder of a server: the one named, made if need be, or a temporary one. @param {string} name @param {string | undefined} dir */
export function serverFolder(name, dir) {
  if (dir) {
    fs.mkdirSync(dir, { recursive: true });
    return { dir: path.resolve(dir), temporary: false };
  }
  const temporary = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), `waybill-${name}-`));
  removeAtEnd(temporary);
  return { dir: temporary, temporary: true };
}

/** The file that a server's output goes to. @param {string} dir */
export const logFile = (dir) => path.join(dir, 'server.log');

/** Starts a server by its recipe. @param {Recipe} recipe @returns {Promise<Server>} */
export async function startManaged(recipe) {
  /** @type {import('node:child_process').ChildProcess[]} */
  let children = [];
  /** @type {number[]} */
  let frozen = [];

  const running = () => children.filter((child) => child.exitCode === null && child.signalCode === null);
  const server = () => running().find((child) => child === children.at(-1));
  /** @param {import('node:child_process').ChildProcess[]} some */
  const trees = (some) => some.flatMap((child) => processTree(/** @type {number} */ (child.pid)));

  const start = async () => {
    if (server()) return;
    await kill();
    if (await canConnect('127.0.0.1', recipe.port))
      throw new Error(`${recipe.description()} cannot start: another program listens on its port ${recipe.port}.`);
    children = await recipe.launch();
    try {
      await untilServing();
    } catch (error) {
      await kill();
      throw error;
    }
  };

  const untilServing = async () => {
    const limit = Date.now() + START_LIMIT_MS;
    /** @type {unknown} */
    let cause = 'its port is not open';
    while (Date.now() < limit) {
      if (!server()) throw startError('it ended while it started', cause);
      if (await canConnect('127.0.0.1', recipe.port)) {
        try {
          await within(recipe.check(), limit - Date.now(), server());
          return;
        } catch (error) {
          cause = error;
        }
      }
      await sleep(50);
    }
    throw startError(`it served no client within ${START_LIMIT_MS / 1000} s`, cause);
  };

  /** @param {string} what @param {unknown} cause */
  const startError = (what, cause) =>
    new Error(
      `${recipe.description()} did not start: ${what} (${cause instanceof Error ? cause.message : cause}). The end of its log:\n${logTail(recipe.dir)}`,
      { cause },
    );

  const stop = async () => {
    thaw();
    const child = server();
    if (child) {
      const tree = trees([child]);
      if (process.platform === 'win32' && recipe.askToStop) await recipe.askToStop();
      else child.kill(recipe.stopSignal);
      if (!(await ended(tree, STOP_LIMIT_MS))) signal(tree, 'SIGKILL');
    }
    await kill();
  };

  const kill = async () => {
    const tree = running().flatMap((child) => killTree(/** @type {number} */ (child.pid)));
    frozen = [];
    if (!(await ended(tree, 10_000))) throw new Error(`${recipe.description()}: its processes ${tree.join(', ')} did not end when killed.`);
    children = [];
  };

  const thaw = () => {
    signal(frozen, 'SIGCONT');
    frozen = [];
  };

  const dispose = async () => {
    await stop();
    if (!recipe.temporary) return;
    fs.rmSync(recipe.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    keep(recipe.dir);
  };

  try {
    await start();
  } catch (error) {
    await dispose();
    throw error;
  }

  return {
    name: recipe.name,
    get description() {
      return recipe.description();
    },
    env: recipe.env,
    get pids() {
      return trees(running());
    },
    dir: recipe.dir,
    start,
    stop,
    kill,
    freeze() {
      frozen = running().flatMap((child) => freezeTree(/** @type {number} */ (child.pid)));
    },
    thaw,
    dispose,
  };
}

/** Fails when the work takes too long, or when the server ends meanwhile. @param {Promise<unknown>} work @param {number} milliseconds @param {import('node:child_process').ChildProcess | undefined} child */
async function within(work, milliseconds, child) {
  const timer = new AbortController();
  const limit = sleep(milliseconds, undefined, { signal: timer.signal }).then(() => 'the first client operation did not end');
  /** @type {() => void} */
  let onExit = () => undefined;
  const end = new Promise((resolve) => {
    onExit = () => resolve('it ended');
    child?.once('exit', onExit);
  });
  try {
    const failure = await Promise.race([work.then(() => undefined), limit, end]);
    if (failure) throw new Error(String(failure));
  } finally {
    child?.off('exit', onExit);
    timer.abort();
    limit.catch(() => undefined);
  }
}

/** @param {string} dir */
function logTail(dir) {
  try {
    return fs.readFileSync(logFile(dir), 'utf8').trim().split('\n').slice(-15).join('\n') || '(empty)';
  } catch {
    return '(no log)';
  }
}
