// @ts-check
import { build, generate, generateBaseline } from '../build.mjs';
import { runJest } from './jest-run.mjs';
import { testOptions } from './options.mjs';
import { brokerTable, lastLine } from './report.mjs';
import { staticChecks } from './static-checks.mjs';
import { startTestServers, stopTestServers, testEnvironment } from './test-servers.mjs';

/** @typedef {import('./test-servers.mjs').TestServer} TestServer */

const PROJECTS_WITHOUT_SERVERS = ['unit', 'simulation', 'architecture'];

/**
 * Everything that `npm test` does; resolves to the exit code.
 * @param {string[]} args @param {(tests: import('./jest-run.mjs').TestOutcome[]) => void} [onTests] is told what became of each test
 */
export async function test(args, onTests) {
  const options = testOptions(args, process.env);
  const interrupted = new AbortController();
  for (const name of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) process.on(name, () => interrupted.abort(name));

  await generate();
  if (options.staticChecks) await generateBaseline(); // its types are checked, too
  const checks = options.staticChecks ? await staticChecks() : { passed: [], failed: [] };
  const problems = checks.failed.map((name) => `static check: ${name}`);
  const built = await isGood(build(), 'build', problems);

  const names = serversFor(options);
  const servers = names.length > 0 ? await startTestServers(names) : [];
  const jest = interrupted.signal.aborted
    ? undefined
    : // Jest takes every word behind --selectProjects for a project's name.
      await runJest([...options.jest, ...selected(options.only)], testEnvironment(servers), interrupted.signal);
  await stopTestServers(servers);
  if (interrupted.signal.aborted || !jest) throw new Error(`Interrupted by ${interrupted.signal.reason}; all servers are stopped.`);
  onTests?.(jest.tests);

  const absent = servers.filter(
    ({ name, server, failed }) => !server && (failed || name === 'postgres' || options.required.includes(name)),
  );
  const unselected = options.required.filter((name) => servers.length > 0 && !servers.some((server) => server.name === name));
  problems.push(
    ...jest.problems,
    ...absent.map(
      ({ name, reason }) => `${name} did not run${options.required.includes(name) ? ', but REQUIRE_BROKERS names it' : ''}: ${reason}`,
    ),
    ...unselected.map((name) => `${name} was not selected, but REQUIRE_BROKERS names it`),
  );
  const counts = {
    passed: jest.passed + checks.passed.length,
    failed: jest.failed + checks.failed.length + (built ? 0 : 1) + absent.length + unselected.length,
    skipped: jest.skipped,
  };
  show(servers, problems, lastLine(counts));
  return counts.failed === 0 ? 0 : 1;
}

/** All tests but a few need PostgreSQL, whatever broker they are about. @param {import('./options.mjs').TestOptions} options */
function serversFor({ only, brokers }) {
  if (only.length > 0 && only.every((project) => PROJECTS_WITHOUT_SERVERS.includes(project))) return [];
  return /** @type {typeof brokers} */ ([...new Set([/** @type {const} */ ('postgres'), ...brokers])]);
}

/** @param {string[]} only */
const selected = (only) => (only.length > 0 ? ['--selectProjects', ...only] : ['--ignoreProjects', ...ON_REQUEST]);

/** Longer than a change wants to wait: `npm run test:adapters`. */
const ON_REQUEST = ['adapters'];

/** @param {Promise<void>} work @param {string} name @param {string[]} problems */
async function isGood(work, name, problems) {
  try {
    await work;
    return true;
  } catch (error) {
    process.stdout.write(`${/** @type {Error} */ (error).message}\n`);
    problems.push(name);
    return false;
  }
}

/** @param {TestServer[]} servers @param {string[]} problems @param {string} last */
function show(servers, problems, last) {
  const parts = [
    ...(problems.length > 0 ? [`Failed:\n${problems.map((problem) => `  ${problem}`).join('\n')}`] : []),
    ...(servers.length > 0 ? [brokerTable(servers)] : []),
    last,
  ];
  process.stdout.write(`\n${parts.join('\n\n')}\n`);
}
