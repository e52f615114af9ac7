// @ts-check
import fs from 'node:fs';
import path from 'node:path';
import { requireBundledNode } from './bundled-node.mjs';
import { ofThisClone, withLock } from './lock.mjs';
import { findProgram, run } from './processes.mjs';
import { progress } from './progress.mjs';
import { inRoot, root } from './root.mjs';

const OLDEST_NODE = [20, 19];
const LOCK_FILE = inRoot('package-lock.json');

/**
 * Goes on when every package of package-lock.json is installed and this is the Node that the project brings; installs and starts the script
 * again where it must. It needs nothing but Node and npm, so a script imports whatever needs a package after it.
 * @param {{ development?: boolean, reexecute?: boolean }} [options] without `development` only what the built app needs
 */
export async function ensureInstalled({ development = true, reexecute = true } = {}) {
  requireNode();
  if (!isInstalled(development)) {
    await withLock(ofThisClone('install'), async () => {
      if (!isInstalled(development)) await install(development);
    });
  }
  if (reexecute) await requireBundledNode();
}

function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [oldestMajor = 0, oldestMinor = 0] = OLDEST_NODE;
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return;
  throw new Error(
    `This is Node ${process.versions.node}; Node ${OLDEST_NODE.join('.')} or newer is needed to begin (see package.json, "engines").`,
  );
}

/**
 * Whether node_modules holds what package-lock.json says, package by package: times of files say nothing after a checkout.
 * @param {boolean} development
 */
function isInstalled(development) {
  if (!fs.existsSync(LOCK_FILE)) return fs.existsSync(inRoot('node_modules'));
  const wanted = packages(LOCK_FILE);
  const present = packages(inRoot('node_modules', '.package-lock.json'));
  return Object.entries(wanted).every(([folder, { version, dev, optional, devOptional, link }]) => {
    if (folder === '' || link || (dev && !development)) return true;
    const found = present[folder];
    if (!found) return optional || devOptional; // For another system.
    return found.version === version && fs.existsSync(inRoot(folder, 'package.json'));
  });
}

/**
 * @param {string} lockFile
 * @returns {Record<string, { version?: string, dev?: boolean, optional?: boolean, devOptional?: boolean, link?: boolean }>}
 */
function packages(lockFile) {
  try {
    return JSON.parse(fs.readFileSync(lockFile, 'utf8')).packages;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT' || error instanceof SyntaxError) return {};
    throw error;
  }
}

/** @param {boolean} development */
async function install(development) {
  const line = progress('installing dependencies (about a minute, once)');
  // Windows does not let `npm ci` remove the Node that runs this.
  const inUse = process.platform === 'win32' && process.execPath.startsWith(inRoot('node_modules'));
  const verb = fs.existsSync(LOCK_FILE) && !inUse ? 'ci' : 'install';
  try {
    const npm = findNpm();
    await run(npm.file, [...npm.args, verb, '--loglevel=error', development ? '--include=dev' : '--omit=dev'], { cwd: root, env: npm.env });
  } catch (error) {
    line.fail();
    throw new Error(
      `The dependencies could not be installed: ${/** @type {Error} */ (error).message}\nTo see more: npm ${verb} --loglevel=verbose`,
      {
        cause: error,
      },
    );
  }
  line.done('installed dependencies');
}

/** npm, run by a Node outside node_modules, since `npm ci` removes that folder. */
function findNpm() {
  const searchPath = (process.env['PATH'] ?? process.env['Path'] ?? '')
    .split(path.delimiter)
    .filter((folder) => !folder.startsWith(inRoot('node_modules')))
    .join(path.delimiter);
  const program = findProgram('npm', searchPath);
  const script = process.env['npm_execpath'];
  const file = program ?? (script && process.execPath);
  if (!file) throw new Error('npm was not found on PATH; it comes with Node.');
  // Prisma would download an engine that nothing here uses, unless it is told of one; any program will do.
  const env = { ...process.env, PATH: searchPath, PRISMA_SCHEMA_ENGINE_BINARY: file };
  return { file, args: program || !script ? [] : [script], env };
}
