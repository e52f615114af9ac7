// @ts-check
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const windows = process.platform === 'win32';

/** Whether the process runs or still holds its ports and files; one that has ended but was not reaped does not. @param {number} pid */
export function isAlive(pid) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
  return process.platform !== 'linux' || linuxStatus(pid)?.state !== 'Z' || linuxThreads(pid) > 1;
}

/** The process and all its descendants that run now, parents first. @param {number} pid */
export function processTree(pid) {
  if (!isAlive(pid)) return [];
  const tree = [pid];
  if (windows) return tree;
  const children = childrenByParent();
  for (let i = 0; i < tree.length; i++) tree.push(...(children.get(/** @type {number} */ (tree[i])) ?? []));
  return tree;
}

/** Freezes a process and its descendants; answers the pids, for `signal(pids, 'SIGCONT')`. @param {number} pid */
export function freezeTree(pid) {
  if (windows) throw new Error('Processes cannot be frozen on Windows.');
  signal([pid], 'SIGSTOP'); // First, so that it starts no more children while they are listed.
  const pids = processTree(pid);
  signal(pids, 'SIGSTOP');
  return pids;
}

/** Kills a process and its descendants at once; answers the pids. @param {number} pid */
export function killTree(pid) {
  if (windows) {
    try {
      execFileSync('taskkill', ['/pid', String(pid), '/t', '/f'], { stdio: 'ignore' });
    } catch {
      // It had ended already.
    }
    return [pid];
  }
  const pids = freezeTree(pid);
  signal(pids, 'SIGKILL');
  return pids;
}

/** Sends a signal to those that still run. @param {number[]} pids @param {NodeJS.Signals} name */
export function signal(pids, name) {
  for (const pid of pids) {
    try {
      process.kill(pid, name);
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ESRCH') throw error;
    }
  }
}

/** Waits until none of them runs; answers whether that came true in time. @param {number[]} pids @param {number} timeoutMs */
export async function ended(pids, timeoutMs) {
  const limit = Date.now() + timeoutMs;
  while (pids.some(isAlive)) {
    if (Date.now() > limit) return false;
    await sleep(20);
  }
  return true;
}

function childrenByParent() {
  /** @type {Map<number, number[]>} */
  const children = new Map();
  for (const [pid, parent] of process.platform === 'linux' ? linuxProcesses() : psProcesses()) {
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  return children;
}

/** Read from /proc, since a small machine may have no `ps`. @returns {[number, number][]} */
function linuxProcesses() {
  const pids = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.flatMap((name) => {
    const status = linuxStatus(Number(name));
    return status && status.state !== 'Z' ? [/** @type {[number, number]} */ ([Number(name), status.parent])] : [];
  });
}

/** @param {number} pid */
function linuxStatus(pid) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state, parent: Number(parent) };
  } catch {
    return undefined;
  }
}

/** A killed process is a zombie as soon as its first thread has ended; the others may take a moment longer. @param {number} pid */
function linuxThreads(pid) {
  try {
    return fs.readdirSync(`/proc/${pid}/task`).length;
  } catch {
    return 0;
  }
}

/** @returns {[number, number][]} */
function psProcesses() {
  const rows = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).trim().split('\n');
  return rows.map((row) => {
    const [pid, parent] = row.trim().split(/\s+/);
    return [Number(pid), Number(parent)];
  });
}
