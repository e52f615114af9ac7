// @ts-check
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts } from '../lib/ports.mjs';
import { run, startInBackground } from '../lib/processes.mjs';
import { classPath, findJava, javaAvailability } from './java.mjs';
import { logFile, serverFolder, startManaged } from './managed-server.mjs';

const VERSION = '4.1.1';
/** @type {import('./java.mjs').JavaServer} */
const KAFKA = {
  id: `kafka-${VERSION}`,
  title: `Kafka ${VERSION}`,
  size: '43 MB',
  // Without a logger a broker that cannot start says nothing.
  artifacts: [`org.apache.kafka:kafka_2.13:${VERSION}`, 'org.slf4j:slf4j-simple:1.7.36'],
};
const CHECK = fileURLToPath(new URL('kafka-check.mjs', import.meta.url));
const CHECK_LIMIT_MS = 60_000;
const SMALL = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xshare:auto', '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn'];

/** Whether this machine can start Kafka. */
export const availability = () => javaAvailability(KAFKA);

/** Starts one Kafka broker that is its own controller (KRaft). @param {import('./managed-server.mjs').StartOptions} [options] */
export async function start({ dir: named, port: wanted, advertisedPort, onProgress } = {}) {
  const java = await findJava();
  if (!java) throw new Error('Kafka needs Java, which was not found.');
  const libraries = await classPath(KAFKA, onProgress);
  const [freeBroker, controller] = /** @type {[number, number]} */ (await freePorts(2));
  const port = wanted ?? freeBroker;
  const folder = serverFolder('kafka', named);
  const log = logFile(folder.dir);
  const data = path.join(folder.dir, 'data');
  const properties = path.join(folder.dir, 'server.properties');

  fs.writeFileSync(properties, lines(settings(port, advertisedPort ?? port, controller, data)));
  if (!fs.existsSync(path.join(data, 'meta.properties'))) {
    await run(
      java.file,
      ['-Xmx128m', ...SMALL, '-cp', libraries, 'kafka.tools.StorageTool', 'format', '-t', clusterId(), '-c', properties],
      { cwd: folder.dir },
    );
  }

  return startManaged({
    name: 'kafka',
    description: () => `Kafka ${VERSION} (Java ${java.major})`,
    env: { KAFKA_BROKERS: `127.0.0.1:${port}` },
    ...folder,
    port,
    launch: async () => [
      await startInBackground(java.file, ['-Xms64m', '-Xmx256m', ...SMALL, '-cp', libraries, 'kafka.Kafka', properties], {
        log,
        cwd: folder.dir,
      }),
    ],
    // In a process of its own: kafkajs makes Node print a warning.
    check: () => run(process.execPath, ['--no-warnings', CHECK, `127.0.0.1:${port}`], { timeoutMs: CHECK_LIMIT_MS }),
    stopSignal: 'SIGTERM',
  });
}

/** @param {number} broker @param {number} advertised @param {number} controller @param {string} data */
const settings = (broker, advertised, controller, data) => ({
  'process.roles': 'broker,controller',
  'node.id': 1,
  'controller.quorum.voters': `1@127.0.0.1:${controller}`,
  listeners: `PLAINTEXT://127.0.0.1:${broker},CONTROLLER://127.0.0.1:${controller}`,
  'advertised.listeners': `PLAINTEXT://127.0.0.1:${advertised}`,
  'controller.listener.names': 'CONTROLLER',
  'inter.broker.listener.name': 'PLAINTEXT',
  'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
  'log.dirs': data.replaceAll('\\', '/'),
  'auto.create.topics.enable': false,
  'group.initial.rebalance.delay.ms': 0,
  // After a kill the broker is let in again only when its former self has timed out.
  'broker.session.timeout.ms': 3000,
  'broker.heartbeat.interval.ms': 500,
  'offsets.topic.replication.factor': 1,
  'offsets.topic.num.partitions': 4,
  'transaction.state.log.replication.factor': 1,
  'transaction.state.log.min.isr': 1,
  'transaction.state.log.num.partitions': 4,
  'share.coordinator.state.topic.replication.factor': 1,
  'share.coordinator.state.topic.min.isr': 1,
  'share.coordinator.state.topic.num.partitions': 4,
  // The log cleaner takes 128 MB of heap unless told otherwise.
  'log.cleaner.dedupe.buffer.size': 4_194_304,
  'log.cleaner.io.buffer.size': 65_536,
});

/** @param {Record<string, string | number | boolean>} values */
const lines = (values) =>
  Object.entries(values)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');

/** 16 random bytes; the tool takes a leading dash for an option. @returns {string} */
function clusterId() {
  const id = randomBytes(16).toString('base64url');
  return id.startsWith('-') ? clusterId() : id;
}
