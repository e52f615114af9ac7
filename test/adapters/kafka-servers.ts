import { execFile, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { canConnect, freePorts } from '../../scripts/lib/ports.mjs';
import { run, startInBackground } from '../../scripts/lib/processes.mjs';
import { classPath, findJava, javaAvailability } from '../../scripts/servers/java.mjs';
import { eventually } from '../support/eventually.js';

/** The jars that `npm test` fetches for its own Kafka. */
const KAFKA = {
  id: 'kafka-4.1.1',
  title: 'Kafka 4.1.1',
  size: '43 MB',
  artifacts: ['org.apache.kafka:kafka_2.13:4.1.1', 'org.slf4j:slf4j-simple:1.7.36'],
};
const SMALL = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xshare:auto', '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn'];
const STORE_PASSWORD = 'changeit';

/** Whether this machine can start more than the one plain Kafka that the environment may name. */
export async function canStartKafka(): Promise<{ available: boolean; reason?: string }> {
  return javaAvailability(KAFKA);
}

export interface KafkaNode {
  readonly port: number;
  kill(): Promise<void>;
  start(): Promise<void>;
}

export interface KafkaCluster {
  readonly nodes: readonly KafkaNode[];
  dispose(): Promise<void>;
}

/** Three brokers, of which the first is also the controller: the others can be killed. Topics of the group coordinator have three replicas. */
export async function startCluster(): Promise<KafkaCluster> {
  const folder = temporary();
  const ports = await freePorts(4);
  const [controller, ...brokers] = ports as [number, ...number[]];
  const clusterId = id();
  const nodes = await Promise.all(
    brokers.map((port, index) => {
      const first = index === 0;
      return node(path.join(folder, String(index)), clusterId, port, [], {
        'process.roles': first ? 'broker,controller' : 'broker',
        'node.id': index + 1,
        'controller.quorum.voters': `1@127.0.0.1:${controller}`,
        listeners: `PLAINTEXT://127.0.0.1:${port}${first ? `,CONTROLLER://127.0.0.1:${controller}` : ''}`,
        'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
        'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
        ...replicated(3),
      });
    }),
  );
  await Promise.all(nodes.map((each) => each.start()));
  return { nodes, dispose: () => disposeOf(nodes, folder) };
}

export interface SecuredKafka {
  readonly ports: { readonly plain: number; readonly ssl: number; readonly saslSsl: number; readonly sasl: number };
  /** PEM text of the certificate that vouches for the server's. */
  readonly ca: string;
  readonly user: { readonly username: string; readonly password: string };
  dispose(): Promise<void>;
}

/** One broker that is reached by TLS, with a login, both or neither. */
export async function startSecured(): Promise<SecuredKafka> {
  const folder = temporary();
  const [controller, plain, ssl, saslSsl, sasl] = (await freePorts(5)) as [number, number, number, number, number];
  const store = path.join(folder, 'server.p12');
  const keytool = (...args: string[]): Promise<unknown> =>
    promisify(execFile)('keytool', [...args, '-alias', 'server', '-keystore', store, '-storetype', 'PKCS12', '-storepass', STORE_PASSWORD]);
  await keytool('-genkeypair', '-keyalg', 'RSA', '-dname', 'CN=localhost', '-ext', 'SAN=DNS:localhost,IP:127.0.0.1', '-validity', '2');
  const certificate = path.join(folder, 'server.pem');
  await keytool('-exportcert', '-rfc', '-file', certificate);
  const user = { username: 'waybill', password: `secret-${randomBytes(6).toString('hex')}` };
  const scram = ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => [
    '--add-scram',
    `${mechanism}=[name=${user.username},password=${user.password}]`,
  ]);
  const listeners = Object.entries({ PLAINTEXT: plain, SSL: ssl, SASL_SSL: saslSsl, SASL_PLAINTEXT: sasl }).map(
    ([name, port]) => `${name}://127.0.0.1:${port}`,
  );
  const plainLogin = `org.apache.kafka.common.security.plain.PlainLoginModule required user_${user.username}="${user.password}";`;
  const scramLogin = 'org.apache.kafka.common.security.scram.ScramLoginModule required;';
  const only = await node(path.join(folder, '0'), id(), plain, scram, {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controller}`,
    listeners: [...listeners, `CONTROLLER://127.0.0.1:${controller}`].join(','),
    'advertised.listeners': listeners.join(','),
    'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT',
    'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
    ...Object.fromEntries(
      ['sasl_ssl', 'sasl_plaintext'].flatMap((listener) => [
        [`listener.name.${listener}.plain.sasl.jaas.config`, plainLogin],
        [`listener.name.${listener}.scram-sha-256.sasl.jaas.config`, scramLogin],
        [`listener.name.${listener}.scram-sha-512.sasl.jaas.config`, scramLogin],
      ]),
    ),
    'ssl.keystore.type': 'PKCS12',
    'ssl.keystore.location': store.replaceAll('\\', '/'),
    'ssl.keystore.password': STORE_PASSWORD,
    'ssl.key.password': STORE_PASSWORD,
    ...replicated(1),
  });
  await only.start();
  return { ports: { plain, ssl, saslSsl, sasl }, ca: readFileSync(certificate, 'utf8'), user, dispose: () => disposeOf([only], folder) };
}

async function node(
  dir: string,
  clusterId: string,
  port: number,
  format: readonly string[],
  settings: Record<string, string | number>,
): Promise<KafkaNode> {
  const java = await findJava();
  if (!java) throw new Error('Kafka needs Java');
  const libraries = await classPath(KAFKA);
  mkdirSync(dir);
  const properties = path.join(dir, 'server.properties');
  writeFileSync(
    properties,
    Object.entries({
      'controller.listener.names': 'CONTROLLER',
      'inter.broker.listener.name': 'PLAINTEXT',
      'log.dirs': path.join(dir, 'data').replaceAll('\\', '/'),
      'auto.create.topics.enable': 'false',
      'group.initial.rebalance.delay.ms': 0,
      'broker.session.timeout.ms': 4_000,
      'broker.heartbeat.interval.ms': 500,
      'log.cleaner.dedupe.buffer.size': 4_194_304,
      'log.cleaner.io.buffer.size': 65_536,
      ...settings,
    })
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  await run(java.file, [
    '-Xmx128m',
    ...SMALL,
    '-cp',
    libraries,
    'kafka.tools.StorageTool',
    'format',
    '-t',
    clusterId,
    '-c',
    properties,
    ...format,
  ]);
  let child: ChildProcess | undefined;
  return {
    port,
    start: async () => {
      child = await startInBackground(java.file, ['-Xms64m', '-Xmx256m', ...SMALL, '-cp', libraries, 'kafka.Kafka', properties], {
        log: path.join(dir, 'server.log'),
        cwd: dir,
      });
      await eventually(
        async () => {
          if (!(await canConnect('127.0.0.1', port))) throw new Error(`no Kafka on port ${port}`);
        },
        { timeoutMs: 90_000 },
      );
    },
    kill: async () => {
      if (!child || child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}

const replicated = (factor: number): Record<string, string | number> => ({
  'offsets.topic.replication.factor': factor,
  'offsets.topic.num.partitions': 4,
  'transaction.state.log.replication.factor': factor,
  'transaction.state.log.min.isr': 1,
  'transaction.state.log.num.partitions': 4,
  'share.coordinator.state.topic.replication.factor': factor,
  'share.coordinator.state.topic.min.isr': 1,
  'share.coordinator.state.topic.num.partitions': 4,
});

async function disposeOf(nodes: readonly KafkaNode[], folder: string): Promise<void> {
  await Promise.all(nodes.map((each) => each.kill()));
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
}

function temporary(): string {
  return mkdtempSync(path.join(tmpdir(), 'waybill-kafkas-'));
}

/** 16 random bytes; the tool takes a leading dash for an option. */
function id(): string {
  const text = randomBytes(16).toString('base64url');
  return text.startsWith('-') ? id() : text;
}
