// @ts-check
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { forget, watch } from './guard.mjs';

const windows = process.platform === 'win32';

/**
 * Starts a program in the background that never outlives this process, however this process ends; what it prints is added to a file.
 * @param {string} file @param {string[]} args
 * @param {{ log: string, cwd?: string, env?: NodeJS.ProcessEnv, uid?: number | undefined, gid?: number | undefined, endWith?: NodeJS.Signals }} options
 *   `endWith` is what an orphaned program is told before it is killed
 */
export async function startInBackground(file, args, { log, endWith = 'SIGKILL', uid, gid, ...options }) {
  const output = fs.openSync(log, 'a');
  try {
    const child = spawn(file, args, {
      ...options,
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
      stdio: ['ignore', output, output],
      // Its own process group, so that Ctrl-C reaches this process only, which then stops it in order.
      detached: !windows,
      windowsHide: true,
    });
    await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
    const pid = /** @type {number} */ (child.pid);
    watch(pid, endWith);
    child.once('exit', () => forget(pid));
    child.unref();
    return child;
  } finally {
    fs.closeSync(output);
  }
}

/**
 * Runs a program to its end and answers what it printed; a failure carries that output.
 * @param {string} file @param {string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, uid?: number | undefined, gid?: number | undefined, timeoutMs?: number }} [options]
 * @returns {Promise<{ stdout: string, stderr: string }>}
 */
export async function run(file, args, { timeoutMs, uid, gid, ...options } = {}) {
  const command = runnable(file, args);
  const child = spawn(command.file, command.args, {
    ...options,
    ...command.options,
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(timeoutMs === undefined ? {} : { timeout: timeoutMs, killSignal: 'SIGKILL' }),
    stdio: ['ignore', 'pipe', 'pipe'],
    windowsHide: true,
  });
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (/** @type {string} */ text) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (/** @type {string} */ text) => (stderr += text));
  const [code, signal] = await new Promise((resolve, reject) => {
    child.once('error', reject).once('close', (...end) => resolve(end));
  });
  if (code === 0) return { stdout, stderr };
  const failure = new Error(`${path.basename(file)} ${args[0] ?? ''} ended with ${signal ?? `code ${code}`}:\n${(stdout + stderr).trim()}`);
  throw Object.assign(failure, { stdout, stderr, code });
}

/**
 * How to start a program without a shell; a `.cmd` of Windows cannot be started directly.
 * @param {string} file @param {string[]} args
 * @returns {{ file: string, args: string[], options: { windowsVerbatimArguments?: boolean } }}
 */
export function runnable(file, args) {
  if (!windows || !/\.(cmd|bat)$/i.test(file)) return { file, args, options: {} };
  const line = [file, ...args].map((word) => (/[\s&()^;,=]/.test(word) ? `"${word}"` : word)).join(' ');
  return { file: process.env['ComSpec'] ?? 'cmd.exe', args: ['/d', '/s', '/c', `"${line}"`], options: { windowsVerbatimArguments: true } };
}

/** Where a program is on PATH, or undefined. @param {string} name @param {string} [searchPath] */
export function findProgram(name, searchPath = process.env['PATH'] ?? process.env['Path'] ?? '') {
  const endings = windows ? ['.exe', '.cmd', '.bat'] : [''];
  for (const folder of searchPath.split(path.delimiter).filter(Boolean)) {
    for (const ending of endings) {
      const file = path.join(folder, name + ending);
      if (isExecutable(file)) return file;
    }
  }
  return undefined;
}

/** @param {string} file */
export function isExecutable(file) {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return fs.statSync(file).isFile();
  } catch {
    return false;
  }
}
