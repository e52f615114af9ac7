// @ts-check
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { forget, keep, removeAtEnd, watch } from '../lib/guard.mjs';
import { killTree } from '../lib/process-tree.mjs';
import { inRoot, root } from '../lib/root.mjs';

const NODE_OPTIONS = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning'];
const EXIT_LIMIT_MS = 60_000;

/**
 * @typedef {object} JestResult
 * @property {number} passed
 * @property {number} failed tests, and suites that could not run
 * @property {number} skipped
 * @property {string[]} problems what failed besides tests
 * @property {TestOutcome[]} tests
 *
 * @typedef {{ file: string, name: string, status: string }} TestOutcome one test: its file in the project, its full name, and
 *   passed, failed or pending
 */

/**
 * Runs Jest, whose output goes straight to the terminal.
 * @param {string[]} args @param {NodeJS.ProcessEnv} env @param {AbortSignal} interrupted @returns {Promise<JestResult>}
 */
export async function runJest(args, env, interrupted) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'waybill-jest-'));
  removeAtEnd(folder);
  const results = path.join(folder, 'results.json');
  try {
    const end = await jestEnds(['--json', `--outputFile=${results}`, ...args], env, results, interrupted);
    return readResults(results, end);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
    keep(folder);
  }
}

/** @param {string[]} args @param {NodeJS.ProcessEnv} env @param {string} results @param {AbortSignal} interrupted @returns {Promise<string | 0>} 0, or how it ended */
async function jestEnds(args, env, results, interrupted) {
  const jest = spawn(process.execPath, [...NODE_OPTIONS, inRoot('node_modules', 'jest', 'bin', 'jest.js'), ...args], {
    cwd: root,
    env,
    stdio: ['inherit', 'ignore', 'inherit'], // With --json the report goes to stderr, and stdout says only where the file is.
  });
  await new Promise((resolve, reject) => jest.once('spawn', resolve).once('error', reject));
  const pid = /** @type {number} */ (jest.pid);
  watch(pid, 'SIGKILL');
  const kill = () => void killTree(pid);
  interrupted.addEventListener('abort', kill, { once: true });

  let stuck = false;
  const timer = setInterval(() => {
    const written = fs.statSync(results, { throwIfNoEntry: false })?.mtimeMs;
    if (written === undefined || Date.now() - written < EXIT_LIMIT_MS) return;
    stuck = true;
    kill();
  }, 1000);
  try {
    const [code, signal] = await new Promise((resolve) => {
      jest.once('exit', (...end) => resolve(end));
    });
    if (stuck) return `did not exit within ${EXIT_LIMIT_MS / 1000} s of its last test: a test has left something open`;
    return code === 0 ? 0 : `ended with ${signal ?? `code ${code}`}`;
  } finally {
    clearInterval(timer);
    forget(pid);
    interrupted.removeEventListener('abort', kill);
  }
}

/** @param {string} file @param {string | 0} end @returns {JestResult} */
function readResults(file, end) {
  if (!fs.existsSync(file))
    return { passed: 0, failed: 1, skipped: 0, problems: [`Jest gave no results and ${end || 'ended well'}`], tests: [] };
  const results = JSON.parse(fs.readFileSync(file, 'utf8'));
  const suites = /** @type {{ name: string, status: string, assertionResults: { fullName: string, status: string }[] }[]} */ (
    results.testResults
  );
  const problems = suites
    .filter(({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0)
    .map(({ name }) => `${path.relative(root, name)} could not run`);
  const failed = Number(results.numFailedTests) + Number(results.numRuntimeErrorTestSuites);
  const unexplained = end !== 0 && (failed === 0 || end.startsWith('did not exit'));
  if (unexplained) problems.push(`Jest ${end}`);
  return {
    passed: Number(results.numPassedTests),
    failed: failed + (unexplained ? 1 : 0),
    skipped: Number(results.numPendingTests) + Number(results.numTodoTests),
    problems,
    tests: suites.flatMap(({ name, assertionResults }) => {
      const file = path.relative(root, name).replaceAll(path.sep, '/');
      return assertionResults.map(({ fullName, status }) => ({ file, name: fullName, status }));
    }),
  };
}
