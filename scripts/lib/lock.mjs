// @ts-check
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cacheDir } from './cache-dir.mjs';
import { isAlive } from './process-tree.mjs';
import { root } from './root.mjs';

/** A lock's name that is this clone's own. @param {string} name */
export const ofThisClone = (name) => `${name}-${createHash('sha256').update(root).digest('hex').slice(0, 12)}`;

/**
 * Does the work while no other process of this user does work of the same name; others wait.
 * @template T @param {string} name @param {() => Promise<T>} work @returns {Promise<T>}
 */
export async function withLock(name, work) {
  const file = path.join(cacheDir(), `${name}.lock`);
  while (!take(file)) {
    if (isAbandoned(file)) fs.rmSync(file, { force: true });
    else await sleep(200);
  }
  try {
    return await work();
  } finally {
    fs.rmSync(file, { force: true });
  }
}

/** @param {string} file */
function take(file) {
  try {
    fs.writeFileSync(file, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EEXIST') return false;
    throw error;
  }
}

/** @param {string} file */
function isAbandoned(file) {
  try {
    const pid = Number(fs.readFileSync(file, 'utf8'));
    if (pid > 0) return !isAlive(pid);
    return Date.now() - fs.statSync(file).mtimeMs > 5000;
  } catch {
    return false;
  }
}
