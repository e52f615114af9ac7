// @ts-check
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import amqp from 'amqplib';
import { installHint } from '../lib/install-hint.mjs';
import { freePorts } from '../lib/ports.mjs';
import { findProgram, isExecutable, run, startInBackground } from '../lib/processes.mjs';
import { logFile, serverFolder, startManaged } from './managed-server.mjs';

/**
 * @typedef {import('./managed-server.mjs').Server & {
 *   ctl: (...args: string[]) => Promise<string>
 * }} RabbitServer `ctl` runs rabbitmqctl on this server and answers what it printed
 */

const windows = process.platform === 'win32';

/** Whether this machine can start RabbitMQ. */
export async function availability() {
  const cure = installHint({ apt: 'rabbitmq-server', dnf: 'rabbitmq-server', brew: 'rabbitmq', choco: 'rabbitmq' });
  const folder = findScripts();
  if (!folder) return { available: false, reason: 'RabbitMQ is not installed', cure };
  if (!findEpmd()) return { available: false, reason: `RabbitMQ is in ${folder}, but Erlang's epmd is not on PATH`, cure };
  return { available: true, how: `RabbitMQ from ${folder}` };
}

/** Starts one RabbitMQ node, apart from any other of this machine. @param {import('./managed-server.mjs').StartOptions} [options] @returns {Promise<RabbitServer>} */
export async function start({ dir: named, port: wanted } = {}) {
  const scripts = findScripts();
  const epmd = findEpmd();
  if (!scripts || !epmd) throw new Error('RabbitMQ is not installed.');
  const [freeAmqp, distribution, mapper] = /** @type {[number, number, number]} */ (await freePorts(3));
  const port = wanted ?? freeAmqp;
  const folder = serverFolder('rabbitmq', named);
  const { dir } = folder;
  const log = logFile(dir);
  const env = environment(dir, distribution, mapper);
  const url = `amqp://guest:guest@127.0.0.1:${port}`;
  let version = '';

  fs.writeFileSync(path.join(dir, 'enabled_plugins'), '[].\n');
  fs.writeFileSync(path.join(dir, 'rabbitmq.conf'), configuration(port));

  /** @param {...string} args */
  const ctl = async (...args) => (await run(script(scripts, 'rabbitmqctl'), args, { cwd: dir, env })).stdout;

  const server = await startManaged({
    name: 'rabbitmq',
    description: () => `RabbitMQ ${version}(${scripts})`,
    env: { RABBITMQ_URL: url },
    ...folder,
    port,
    launch: async () => [
      // Started here, so that it can be stopped: RabbitMQ would start it in the background and leave it behind.
      await startInBackground(epmd, ['-port', String(mapper), '-address', '127.0.0.1'], { log, cwd: dir, env }),
      await startInBackground(script(scripts, 'rabbitmq-server'), [], { log, cwd: dir, env }),
    ],
    check: async () => {
      version = `${await declareAndPublish(url)} `;
    },
    stopSignal: 'SIGTERM',
    askToStop: () => ctl('stop'),
  });
  return Object.assign(server, { ctl });
}

/**
 * The folder of RabbitMQ's own scripts. On Debian that is not the one on PATH, whose wrappers switch to the user `rabbitmq`.
 * @returns {string | undefined}
 */
function findScripts() {
  const home = process.env['RABBITMQ_HOME'];
  const onPath = findProgram('rabbitmq-server');
  const folders = [
    ...(home ? [path.join(home, 'bin'), path.join(home, 'sbin')] : []),
    '/usr/lib/rabbitmq/bin',
    '/opt/homebrew/opt/rabbitmq/sbin',
    '/usr/local/opt/rabbitmq/sbin',
    ...windowsFolders(),
    ...(onPath ? [path.dirname(fs.realpathSync(onPath))] : []),
  ];
  return folders.find((folder) => isExecutable(script(folder, 'rabbitmq-server')) && isExecutable(script(folder, 'rabbitmqctl')));
}

function windowsFolders() {
  const installed = path.join(process.env['ProgramFiles'] ?? 'C:\\Program Files', 'RabbitMQ Server');
  if (!windows || !fs.existsSync(installed)) return [];
  return fs.readdirSync(installed).map((name) => path.join(installed, name, 'sbin'));
}

function findEpmd() {
  const erlang = process.env['ERLANG_HOME'];
  return findProgram('epmd') ?? (erlang && findProgram('epmd', path.join(erlang, 'bin')));
}

/** @param {string} folder @param {string} name */
const script = (folder, name) => path.join(folder, windows ? `${name}.bat` : name);

/** @param {string} dir @param {number} distribution @param {number} mapper */
function environment(dir, distribution, mapper) {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('RABBITMQ_'));
  return {
    ...Object.fromEntries(inherited),
    HOME: dir, // Erlang keeps its cookie there.
    LANG: 'C.UTF-8',
    ERL_EPMD_PORT: String(mapper),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_DIST_PORT: String(distribution),
    RABBITMQ_NODENAME: 'waybill@localhost', // The data are filed under it; it has an epmd, and so this name, to itself.
    RABBITMQ_BASE: dir,
    RABBITMQ_MNESIA_BASE: path.join(dir, 'data'),
    RABBITMQ_LOG_BASE: path.join(dir, 'log'),
    RABBITMQ_CONFIG_FILE: path.join(dir, 'rabbitmq.conf'),
    RABBITMQ_CONF_ENV_FILE: path.join(dir, 'rabbitmq-env.conf'),
    RABBITMQ_ENABLED_PLUGINS_FILE: path.join(dir, 'enabled_plugins'),
    RABBITMQ_PID_FILE: path.join(dir, 'pid'),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
  };
}

/** @param {number} port */
const configuration = (port) => `listeners.tcp.default = 127.0.0.1:${port}
vm_memory_high_watermark.absolute = 1GiB
disk_free_limit.absolute = 50MB
`;

/** Declares a quorum queue and publishes with a confirm; answers the server's version. @param {string} url */
async function declareAndPublish(url) {
  const connection = await amqp.connect(url, { timeout: 10_000 });
  connection.on('error', () => undefined);
  try {
    const queue = `waybill-ready-${randomUUID()}`;
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    channel.sendToQueue(queue, Buffer.from('ready'));
    await channel.waitForConfirms();
    await channel.deleteQueue(queue);
    return String(/** @type {any} */ (connection).connection.serverProperties.version);
  } finally {
    await connection.close();
  }
}
