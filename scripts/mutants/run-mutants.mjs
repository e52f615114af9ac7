// @ts-check
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { generate } from '../build.mjs';
import { forget, keep, removeAtEnd, watch } from '../lib/guard.mjs';
import { killTree } from '../lib/process-tree.mjs';
import { progress, seconds } from '../lib/progress.mjs';
import { inRoot, root } from '../lib/root.mjs';
import { startTestServers, stopTestServers, testEnvironment } from '../testing/test-servers.mjs';
import { mutants } from '../../test/mutants/mutants.mjs';

/**
 * @typedef {import('../../test/mutants/mutants.mjs').Mutant} Mutant
 * @typedef {import('../../test/mutants/mutants.mjs').Selection} Selection
 *
 * @typedef {object} TestRun
 * @property {number} passed
 * @property {{ name: string, message: string }[]} failures
 */

const COPIED = [
  'src',
  'test',
  'scripts',
  'prisma',
  'prisma.config.ts',
  'package.json',
  'jest.config.mjs',
  'tsconfig.json',
  '.swcrc',
  '.env.example',
];
const LIMIT_MS = 10 * 60_000;
const ALONE = 'without any mutant';

/** Shows for each mutant that the suite notices it, and by what; resolves to the exit code. @param {string[]} args */
export async function testMutants(args) {
  const chosen = choose(args);
  for (const mutant of mutants) check(mutant, root);
  const interrupted = new AbortController();
  for (const name of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) process.on(name, () => interrupted.abort(name));
  await generate();
  const names = [...new Set(chosen.flatMap(({ run }) => run.servers ?? []))];
  const servers = names.length > 0 ? await startTestServers(names) : [];
  const tree = copyTree();
  try {
    const env = testEnvironment(servers);
    /** @type {string[][]} */
    const rows = [];
    let ok = true;
    for (const selection of distinct(chosen.map(({ run }) => run))) {
      const result = await runTests(tree, selection, env, interrupted.signal);
      const green = result.failures.length === 0 && result.passed > 0;
      ok &&= green;
      if (!green) rows.push([ALONE, 'NOT GREEN', describe(selection), firstLine(result.failures[0]?.message ?? 'no test ran')]);
    }
    if (ok)
      for (const mutant of chosen) {
        const start = Date.now();
        const line = progress(mutant.name);
        const result = await withMutant(mutant, tree, () => runTests(tree, mutant.run, env, interrupted.signal));
        const caught = result.failures.find(({ name, message }) => mutant.caughtBy.test(name) || mutant.caughtBy.test(message));
        const verdict = caught ? 'caught' : result.failures.length > 0 ? 'WRONG REASON' : 'SURVIVED';
        ok &&= caught !== undefined;
        const by = caught
          ? (mutant.caughtBy.exec(caught.message)?.[0] ?? caught.name)
          : firstLine(result.failures[0]?.message ?? 'every test passed');
        rows.push([mutant.name, verdict, `${describe(mutant.run)} (${seconds(Date.now() - start, 0)})`, by]);
        if (caught) line.done(`${mutant.name}: caught`);
        else line.fail(`${mutant.name}: ${verdict}\n${result.failures[0]?.message ?? ''}`);
        if (interrupted.signal.aborted) throw new Error(`Interrupted by ${interrupted.signal.reason}.`);
      }
    process.stdout.write(`\n${table([['mutant', 'result', 'run', 'noticed by'], ...rows])}\n\n`);
    const count = rows.filter(([, verdict]) => verdict === 'caught').length;
    process.stdout.write(`${count} of ${chosen.length} mutants caught\n`);
    return ok ? 0 : 1;
  } finally {
    await stopTestServers(servers);
    fs.rmSync(tree, { recursive: true, force: true });
    keep(tree);
  }
}

/** @param {string[]} args */
function choose(args) {
  const [option, value] = args[0]?.startsWith('--only=') ? ['--only', args[0].slice(7)] : args;
  if (option === undefined) return [...mutants];
  if (option !== '--only' || !value) throw new Error('npm run test:mutants takes --only <name>,<name> and nothing else.');
  return value.split(',').map((name) => {
    const mutant = mutants.find((candidate) => candidate.name === name);
    if (!mutant) throw new Error(`There is no mutant "${name}"; there are ${mutants.map((candidate) => candidate.name).join(', ')}.`);
    return mutant;
  });
}

/** @param {Mutant} mutant @param {string} tree */
function check({ name, edits }, tree) {
  for (const { file, search } of edits) {
    const found = fs.readFileSync(path.join(tree, file), 'utf8').split(search).length - 1;
    if (found !== 1) throw new Error(`Mutant ${name} does not fit any more: ${file} holds what it replaces ${found} times.\n${search}`);
  }
}

/** The sources in a folder of their own, with the packages of this one. */
function copyTree() {
  const tree = fs.mkdtempSync(path.join(os.tmpdir(), 'waybill-mutants-'));
  removeAtEnd(tree);
  for (const name of COPIED) fs.cpSync(inRoot(name), path.join(tree, name), { recursive: true });
  fs.symlinkSync(inRoot('node_modules'), path.join(tree, 'node_modules'), 'junction');
  return tree;
}

/** @template T @param {Mutant} mutant @param {string} tree @param {() => Promise<T>} work */
async function withMutant({ edits }, tree, work) {
  const files = [...new Set(edits.map(({ file }) => path.join(tree, file)))];
  const before = files.map((file) => fs.readFileSync(file, 'utf8'));
  try {
    for (const { file, search, replace } of edits) {
      const name = path.join(tree, file);
      const text = fs.readFileSync(name, 'utf8');
      fs.writeFileSync(
        name,
        text.replace(search, () => replace),
      );
    }
    return await work();
  } finally {
    for (const [index, file] of files.entries()) fs.writeFileSync(file, before[index] ?? '');
    // What the simulation keeps of a mutant is no regression of ours.
    fs.rmSync(path.join(tree, 'test/simulation/regressions'), { recursive: true, force: true });
    fs.cpSync(inRoot('test/simulation/regressions'), path.join(tree, 'test/simulation/regressions'), { recursive: true });
  }
}

/** @param {string} tree @param {Selection} selection @param {NodeJS.ProcessEnv} env @param {AbortSignal} interrupted @returns {Promise<TestRun>} */
async function runTests(tree, { project, files, tests }, env, interrupted) {
  const results = path.join(tree, 'results.json');
  fs.rmSync(results, { force: true });
  const args = ['--selectProjects', project, '--json', `--outputFile=${results}`];
  if (files) args.push('--testPathPatterns', files);
  if (tests) args.push('--testNamePattern', tests);
  const jest = spawn(
    process.execPath,
    [
      '--experimental-vm-modules',
      '--disable-warning=ExperimentalWarning',
      path.join(tree, 'node_modules/jest/bin/jest.js'),
      '--rootDir',
      tree,
      ...args,
    ],
    { cwd: tree, env: { ...env, SIMULATION_SEED: env['SIMULATION_SEED'] ?? '1' }, stdio: 'ignore' },
  );
  await new Promise((resolve, reject) => jest.once('spawn', resolve).once('error', reject));
  const pid = /** @type {number} */ (jest.pid);
  watch(pid, 'SIGKILL');
  const kill = () => void killTree(pid);
  const timer = setTimeout(kill, LIMIT_MS);
  interrupted.addEventListener('abort', kill, { once: true });
  await new Promise((resolve) => {
    jest.once('exit', resolve);
  });
  clearTimeout(timer);
  forget(pid);
  interrupted.removeEventListener('abort', kill);
  if (!fs.existsSync(results)) return { passed: 0, failures: [{ name: project, message: 'Jest gave no results within its time' }] };
  const { numPassedTests, testResults } = JSON.parse(fs.readFileSync(results, 'utf8'));
  /** @type {{ name: string, message: string }[]} */
  const failures = [];
  for (const { name, status, message, assertionResults } of testResults) {
    const failed = assertionResults.filter((/** @type {{ status: string }} */ result) => result.status === 'failed');
    for (const { fullName, failureMessages } of failed) failures.push({ name: fullName, message: failureMessages.join('\n') });
    if (status === 'failed' && failed.length === 0) failures.push({ name, message });
  }
  return { passed: numPassedTests, failures };
}

/** @param {Selection[]} selections */
const distinct = (selections) => [...new Map(selections.map((selection) => [JSON.stringify(selection), selection])).values()];

/** @param {Selection} selection */
const describe = ({ project, files, tests }) => [project, files, tests].filter(Boolean).join(' ');

/** @param {string} text */
const firstLine = (text) => (text.split('\n').find((line) => line.trim() !== '') ?? '').trim().slice(0, 100);

/** @param {string[][]} rows */
function table(rows) {
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => row.map((cell, column) => (column < 3 ? cell.padEnd(widths[column] ?? 0) : cell)).join('  ')).join('\n');
}
