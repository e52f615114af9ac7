// @ts-check
import { canConnect } from '../lib/ports.mjs';
import { sqsEnvironment } from './sqs-client.mjs';

/**
 * @typedef {import('./managed-server.mjs').Server} Server
 * @typedef {import('./managed-server.mjs').ServerName} ServerName
 * @typedef {import('./managed-server.mjs').StartOptions} StartOptions
 * @typedef {import('./rabbitmq.mjs').RabbitServer} RabbitServer
 * @typedef {{ available: boolean, how?: string, reason?: string, cure?: string }} Availability
 *   `how`: 'environment', or what would be started; `cure`: one line to paste
 * @typedef {{ availability: () => Promise<Availability>, start: (options?: StartOptions) => Promise<Server> }} Starter
 */

/** All servers that can be started. @type {readonly ServerName[]} */
export const serverNames = ['postgres', 'kafka', 'rabbitmq', 'sqs'];

/** The environment variable that names a server which already runs. @type {Readonly<Record<ServerName, string>>} */
export const environmentNames = { postgres: 'DATABASE_URL', kafka: 'KAFKA_BROKERS', rabbitmq: 'RABBITMQ_URL', sqs: 'SQS_ENDPOINT' };

/** Whether tests can have this server: the environment names one, or this machine can start one. @param {ServerName} name @returns {Promise<Availability>} */
export async function availability(name) {
  if (fromEnvironment(name)) return { available: true, how: 'environment' };
  return (await starter(name)).availability();
}

/**
 * Starts a real server on 127.0.0.1; resolves when it has served a real client.
 * @overload @param {'rabbitmq'} name @param {StartOptions} [options] @returns {Promise<RabbitServer>}
 */
/**
 * @overload @param {ServerName} name @param {StartOptions} [options] @returns {Promise<Server>}
 */
/** @param {ServerName} name @param {StartOptions} [options] @returns {Promise<Server>} */
export async function startServer(name, options = {}) {
  return (await starter(name, options.variant)).start(options);
}

/** The server that the environment names, which only others can stop, or one that is started. @param {ServerName} name @param {StartOptions} [options] */
export async function useOrStart(name, options = {}) {
  return fromEnvironment(name) ? environmentServer(name) : startServer(name, options);
}

/** @param {ServerName} name */
const fromEnvironment = (name) => process.env[environmentNames[name]];

/** @param {ServerName} name @param {StartOptions['variant']} [variant] @returns {Promise<Starter>} */
async function starter(name, variant) {
  switch (name) {
    case 'postgres':
      return import('./postgres.mjs');
    case 'kafka':
      return import('./kafka.mjs');
    case 'rabbitmq':
      return import('./rabbitmq.mjs');
    case 'sqs':
      return sqsStarter(variant);
    default:
      throw new Error(`There is no server "${name}"; there are ${serverNames.join(', ')}.`);
  }
}

/** ElasticMQ where Java is, fauxqs elsewhere. @param {StartOptions['variant']} variant @returns {Promise<Starter>} */
async function sqsStarter(variant) {
  const elasticmq = await import('./elasticmq.mjs');
  if (variant === 'elasticmq' || (!variant && (await elasticmq.availability()).available)) return elasticmq;
  return import('./fauxqs.mjs');
}

/** @param {ServerName} name @returns {Promise<Server>} */
async function environmentServer(name) {
  const variable = environmentNames[name];
  const value = /** @type {string} */ (fromEnvironment(name));
  if (!(await answers(name, value))) {
    throw new Error(
      `${variable} is set, but nothing answers at ${withoutPassword(value)}. Start that server, or unset ${variable} to have one started.`,
    );
  }
  const nothing = async () => undefined;
  const refuse = () => {
    throw new Error(`${name} is the one that ${variable} names; only a server that was started here can be killed or frozen.`);
  };
  return {
    name,
    description: 'from the environment',
    env: { ...(name === 'sqs' ? sqsDefaults() : {}), [variable]: value },
    pids: [],
    dir: '',
    start: nothing,
    stop: nothing,
    dispose: nothing,
    kill: async () => refuse(),
    freeze: refuse,
    thaw: refuse,
  };
}

/** An emulator needs a region and some credentials, which the environment may not have. @returns {Record<string, string>} */
function sqsDefaults() {
  const { AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY } = sqsEnvironment(0);
  const named = process.env['AWS_ACCESS_KEY_ID'] ?? process.env['AWS_PROFILE'];
  return { AWS_REGION: process.env['AWS_REGION'] ?? AWS_REGION, ...(named ? {} : { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY }) };
}

/** @param {ServerName} name @param {string} value */
async function answers(name, value) {
  const addresses = name === 'kafka' ? value.split(',').map((broker) => `kafka://${broker.trim()}`) : [value];
  for (const address of addresses) {
    const { hostname, port, protocol } = new URL(address);
    if (!hostname) return true; // A socket file of PostgreSQL.
    const usual = { 'postgres:': 5432, 'postgresql:': 5432, 'kafka:': 9092, 'amqp:': 5672, 'amqps:': 5671, 'http:': 80, 'https:': 443 }[
      protocol
    ];
    if (await canConnect(hostname.replace(/^\[|\]$/g, ''), Number(port || usual), 10_000)) return true;
  }
  return false;
}

/** @param {string} value */
const withoutPassword = (value) => value.replace(/\/\/[^@/]*@/, '//');
