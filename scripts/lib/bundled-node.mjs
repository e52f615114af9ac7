// @ts-check
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import { underNpm } from './follow-npm.mjs';
import { inRoot } from './root.mjs';

const program = inRoot('node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node');

/** The Node to run the project with: the one of the npm package `node`, or this one where it is new enough. */
export function bundledNode() {
  const wanted = bundledVersion();
  if (runs(program)) return program;
  if (major(process.versions.node) >= major(wanted)) return process.execPath;
  throw new Error(
    `Node ${major(wanted)} is needed; this is ${process.version}, and the one of the npm package \`node\` is not there or does not run here. ` +
      `Let npm run its install script, \`npm rebuild node --ignore-scripts=false\`, or install Node ${major(wanted)}.`,
  );
}

/** @param {string} file */
const runs = (file) => fs.existsSync(file) && spawnSync(file, ['--version'], { windowsHide: true }).status === 0;

/** Goes on only under that Node; under any other it runs the script again and ends as that run ends. */
export async function requireBundledNode() {
  if (process.versions.node === bundledVersion()) return;
  const node = bundledNode();
  if (node !== process.execPath) await runInstead(node, [...process.execArgv, ...process.argv.slice(1)]);
}

/**
 * Runs a program in place of this one: same terminal, signals passed on, the same end. It does not return. Where the system and this
 * Node can, the program takes over this very process, so that a deployment has none in between; not under npm, which has to be followed.
 * @param {string} file @param {string[]} args @returns {Promise<never>}
 */
export async function runInstead(file, args) {
  if (process.platform !== 'win32' && !underNpm)
    process.execve?.(file, [file, ...args], /** @type {Record<string, string>} */ ({ ...process.env }));
  const child = spawn(file, args, { stdio: 'inherit' });
  for (const name of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.on(name, () => {
      // Ctrl-C on a terminal reaches the child by itself; a second one would mean "at once".
      if (name !== 'SIGINT' || !process.stdin.isTTY) child.kill(name);
    });
  }
  const [code, signal] = await new Promise((resolve, reject) => {
    child.once('error', reject).once('exit', (...end) => resolve(end));
  });
  if (signal) await endBySignal(signal);
  process.exit(code ?? 1);
}

/** Some signals do not end a Node process that sends them to itself; then it ends with the code a shell would give. @param {NodeJS.Signals} signal */
function endBySignal(signal) {
  process.removeAllListeners(signal);
  if (process.platform !== 'win32') process.kill(process.pid, signal);
  setTimeout(() => process.exit(128 + (os.constants.signals[signal] ?? 0)), 1000);
  return new Promise(() => undefined);
}

function bundledVersion() {
  return String(JSON.parse(fs.readFileSync(inRoot('node_modules', 'node', 'package.json'), 'utf8')).version);
}

/** @param {string} version */
const major = (version) => Number(version.split('.')[0]);
