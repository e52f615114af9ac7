// @ts-check
import fs from 'node:fs';
import path from 'node:path';
import { freePort } from '../lib/ports.mjs';
import { startInBackground } from '../lib/processes.mjs';
import { classPath, findJava, javaAvailability } from './java.mjs';
import { logFile, serverFolder, startManaged } from './managed-server.mjs';
import { createAndListQueue, sqsEnvironment } from './sqs-client.mjs';

const VERSION = '1.7.1';
/** @type {import('./java.mjs').JavaServer} */
const ELASTICMQ = {
  id: `elasticmq-${VERSION}`,
  title: `ElasticMQ ${VERSION}`,
  size: '37 MB',
  artifacts: [`org.elasticmq:elasticmq-server_2.13:${VERSION}`],
};

/** Whether this machine can start ElasticMQ. */
export const availability = () => javaAvailability(ELASTICMQ);

/** Starts ElasticMQ, which speaks the SQS protocol. @param {import('./managed-server.mjs').StartOptions} [options] */
export async function start({ dir: named, port: wanted, onProgress } = {}) {
  const java = await findJava();
  if (!java) throw new Error('ElasticMQ needs Java, which was not found.');
  const libraries = await classPath(ELASTICMQ, onProgress);
  const port = wanted ?? (await freePort());
  const folder = serverFolder('elasticmq', named);
  const configFile = path.join(folder.dir, 'elasticmq.conf');
  fs.writeFileSync(configFile, configuration(port, folder.dir.replaceAll('\\', '/')));

  const options = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xshare:auto', `-Dconfig.file=${configFile}`];
  return startManaged({
    name: 'sqs',
    description: () => `ElasticMQ ${VERSION} (Java ${java.major})`,
    env: sqsEnvironment(port),
    ...folder,
    port,
    launch: async () => [
      await startInBackground(java.file, [...options, '-cp', libraries, 'org.elasticmq.server.Main'], {
        log: logFile(folder.dir),
        cwd: folder.dir,
      }),
    ],
    check: () => createAndListQueue(port),
    stopSignal: 'SIGTERM',
  });
}

/** Written without a delay, so that a kill loses nothing. @param {number} port @param {string} dir */
const configuration = (port, dir) => `include classpath("application.conf")
node-address { protocol = http, host = "127.0.0.1", port = ${port}, context-path = "" }
rest-sqs { enabled = true, bind-port = ${port}, bind-hostname = "127.0.0.1", sqs-limits = strict }
rest-stats { enabled = false }
queues-storage { enabled = true, path = "${dir}/queues.conf" }
messages-storage { enabled = true, uri = "jdbc:h2:file:${dir}/messages;WRITE_DELAY=0" }
`;
