// @ts-check
import { progress, seconds } from '../lib/progress.mjs';
import { availability, environmentNames, serverNames, useOrStart } from '../servers/index.mjs';

/**
 * @typedef {import('../servers/index.mjs').ServerName} ServerName
 * @typedef {import('../servers/index.mjs').Server} Server
 *
 * @typedef {object} TestServer What became of one server.
 * @property {ServerName} name
 * @property {Server} [server] when it runs
 * @property {string} [reason] when it does not
 * @property {string} [cure] one line to paste
 * @property {boolean} failed whether its absence is a fault here, not only something that this machine lacks
 */

/** Starts those servers side by side, or takes those that the environment names. @param {ServerName[]} names @returns {Promise<TestServer[]>} */
export async function startTestServers(names) {
  const line = progress(`starting ${names.join(', ')}`);
  const servers = await Promise.all(names.map((name) => startTestServer(name, line)));
  const running = servers.filter(({ server }) => server);
  line.done(`${running.length} of ${names.length} servers run`);
  return servers;
}

/** @param {ServerName} name @param {import('../lib/progress.mjs').Progress} line @returns {Promise<TestServer>} */
async function startTestServer(name, line) {
  const start = Date.now();
  const found = await availability(name);
  if (!found.available) {
    line.note(`  ${name}: not available (${found.reason})`);
    return { name, failed: false, ...(found.reason ? { reason: found.reason } : {}), ...(found.cure ? { cure: found.cure } : {}) };
  }
  try {
    const server = await useOrStart(name, { onProgress: (text) => line.note(`  ${name}: ${text}`) });
    line.note(`  ${name}: ${server.description} (${seconds(Date.now() - start)})`);
    return { name, server, failed: false };
  } catch (error) {
    const message = /** @type {Error} */ (error).message;
    line.note(`  ${name}: FAILED\n${message}`);
    return { name, failed: true, reason: message.split('\n')[0] ?? message };
  }
}

/** Ends all of them and removes their data. @param {TestServer[]} servers */
export async function stopTestServers(servers) {
  await Promise.all(servers.map(async ({ server }) => server?.dispose()));
}

/** The environment of the tests: where the servers are, and none that they are not to use. @param {TestServer[]} servers @returns {NodeJS.ProcessEnv} */
export function testEnvironment(servers) {
  const env = { ...process.env };
  for (const name of serverNames) delete env[environmentNames[name]];
  const running = servers.flatMap(({ server }) => server ?? []);
  return { ...env, ...Object.assign({}, ...running.map((server) => server.env)), TEST_BROKERS: running.map(({ name }) => name).join(',') };
}
