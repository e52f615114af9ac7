// @ts-check
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { killTree } from './process-tree.mjs';

/**
 * A second process that ends what this one has started and removes its temporary folders when this one ends, by whatever way:
 * handlers of 'exit' and of signals see neither `kill -9` nor the end of a Jest worker. It runs only while there is something to guard.
 */

/** @type {import('node:child_process').ChildProcess | undefined} */
let guard;
/** @type {Set<number>} */
const pids = new Set();
/** @type {Set<string>} */
const folders = new Set();

/** From now on the process ends with this one; it is told `endWith` first, where that is not SIGKILL. @param {number} pid @param {NodeJS.Signals} endWith */
export function watch(pid, endWith) {
  pids.add(pid);
  tell(['watch', pid, endWith]);
}

/** The process has ended. @param {number} pid */
export function forget(pid) {
  pids.delete(pid);
  tell(['forget', pid]);
}

/** The folder is removed when this process ends. @param {string} folder */
export function removeAtEnd(folder) {
  folders.add(folder);
  tell(['remove', folder]);
}

/** The folder has been removed, or is to stay. @param {string} folder */
export function keep(folder) {
  folders.delete(folder);
  tell(['keep', folder]);
}

/** @param {(string | number)[]} message */
function tell(message) {
  guard ??= startGuard();
  guard.stdin?.write(`${JSON.stringify(message)}\n`);
  if (pids.size > 0 || folders.size > 0) return;
  guard.stdin?.end();
  guard = undefined;
}

function startGuard() {
  const child = spawn(process.execPath, [fileURLToPath(new URL('guard-process.mjs', import.meta.url))], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
    windowsHide: true,
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  child.once('error', () => undefined);
  child.stdin.on('error', () => undefined);
  child.unref();
  /** @type {import('node:net').Socket} */ (child.stdin).unref();
  return child;
}

process.once('exit', () => {
  for (const pid of pids) killTree(pid);
});
