import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import {
  BROKERS,
  ROLES,
  type BrokerConfig,
  type Config,
  type DatabaseConfig,
  type KafkaConfig,
  type RabbitmqConfig,
  type Role,
  type SqsConfig,
} from './config.js';
import { ConfigError } from './config.errors.js';
import { EnvironmentReader } from './environment-reader.js';
import { FAILPOINTS } from './failpoint.js';

const MINUTE = 60_000;
const DAY = 86_400_000;
const HOST_AND_PORT = /^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):\d{1,5}$/;
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
const SASL_MECHANISMS = ['plain', 'scram-sha-256', 'scram-sha-512'] as const;

/** An unknown name under one of these can only be a slip. */
const PREFIXES = [
  'KAFKA_',
  'RABBITMQ_',
  'SQS_',
  'OUTBOX_',
  'INBOX_',
  'RETRY_',
  'CONSUMER_',
  'HANDLER_',
  'SHUTDOWN_',
  'BROKER_',
  'ORDERS_',
  'PAYMENT_',
  'NOTIFY_',
  'SMTP_',
  'OPS_',
];
/** Kubernetes announces a service named `kafka` like this, unasked. */
const KUBERNETES_SERVICE = /_SERVICE_(HOST|PORT)(_\w+)?$|_PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?$/;
/** What the servers' own programs read, on a machine that runs them too. */
const SERVERS_OWN =
  /^(KAFKA_(HOME|OPTS|DEBUG|CFG_\w+|(HEAP|JMX|LOG4J|GC_LOG|JVM_PERFORMANCE)_OPTS)|RABBITMQ_(HOME|BASE|NODENAME|NODE_\w+|DIST_PORT|CONF_ENV_FILE|CONFIG_FILES?|ADVANCED_CONFIG_FILE|ENABLED_PLUGINS\w*|PLUGINS_\w+|MNESIA_\w+|LOGS|LOG_BASE|PID_FILE|SCHEMA_DIR|SERVER_\w+|CTL_\w+|DEFAULT_\w+|ERLANG_COOKIE|USE_LONGNAME|IO_THREAD_POOL_SIZE|FEATURE_FLAGS\w*|GENERATED_CONFIG_DIR|QUORUM_DIR|STREAM_DIR|VERSION))$/;

/**
 * The configuration that the variables describe, with defaults for what they leave open.
 * @throws ConfigError naming every problem at once
 */
export function readConfig(env: NodeJS.ProcessEnv, { terminal = process.stdout.isTTY === true } = {}): Config {
  const reader = new EnvironmentReader(env);
  const config = describe(reader, terminal);
  reader.refuseStrangers(PREFIXES, (name) => KUBERNETES_SERVICE.test(name) || SERVERS_OWN.test(name));
  if (reader.problems.length > 0) throw new ConfigError(reader.problems);
  return config;
}

/** Every variable that `readConfig` reads. */
export function configVariables(): readonly string[] {
  const reader = new EnvironmentReader({});
  describe(reader, false);
  return reader.namesRead;
}

function describe(reader: EnvironmentReader, terminal: boolean): Config {
  const production = reader.oneOf('NODE_ENV', ['development', 'test', 'production'] as const, 'development') === 'production';
  const leaseMs = reader.integer('OUTBOX_LEASE_MS', 6000, { min: 1000, max: 10 * MINUTE });
  return {
    production,
    instance: `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`,
    roles: new Set(rolesOf(reader)),
    http: {
      host:
        reader.text('HOST', { matches: /^[A-Za-z0-9.:_-]{1,255}$/, allowed: 'a host name or an IP address' }) ??
        (production ? '0.0.0.0' : '127.0.0.1'),
      port: reader.integer('PORT', 3000, { min: 0, max: 65_535 }),
      opsToken: reader.text('OPS_TOKEN', { secret: true, matches: /^[\x21-\x7e]+$/, allowed: 'visible ASCII characters without spaces' }),
      publicMetrics: reader.flag('PUBLIC_METRICS', false),
      publicDocs: reader.flag('PUBLIC_DOCS', false),
    },
    database: databaseOf(reader, production),
    broker: brokerOf(reader, production, leaseMs),
    outbox: {
      lanes: reader.integer('OUTBOX_LANES', 16, { min: 1, max: 1024 }),
      leaseMs,
      pollIntervalMs: reader.integer('OUTBOX_POLL_INTERVAL_MS', 1000, { min: 10, max: 10 * MINUTE }),
      batchSize: reader.integer('OUTBOX_BATCH_SIZE', 500, { min: 1, max: 10_000 }),
      maxAttempts: reader.integer('OUTBOX_MAX_ATTEMPTS', 10, { min: 1, max: 1000 }),
    },
    consumers: {
      maxAttempts: reader.integer('RETRY_MAX_ATTEMPTS', 5, { min: 1, max: 1000 }),
      ...delaysOf(reader),
      handlerTimeoutMs: reader.integer('HANDLER_TIMEOUT_MS', 10_000, { min: 50, max: 15 * MINUTE }),
      ...inFlightOf(reader),
      inboxRetentionDays: reader.integer('INBOX_RETENTION_DAYS', 14, { min: 1, max: 3650 }),
    },
    orders: { groupCommit: reader.flag('ORDERS_GROUP_COMMIT', true) },
    payment: paymentOf(reader, production),
    notify: {
      smtpUrl: reader.secretUrl('SMTP_URL', { protocols: ['smtp:', 'smtps:'], allowed: 'smtp://user:password@host:587 or smtps://…' }),
      smtpFrom:
        reader.text('SMTP_FROM', {
          matches: /^[^\r\n]*[^\s@<>]+@[^\s@<>]+>?$/,
          allowed: 'a mail address, like Waybill <shop@example.com>',
        }) ?? 'Waybill <waybill@localhost>',
      webhookUrl: reader.secretUrl('NOTIFY_WEBHOOK_URL', { protocols: ['http:', 'https:'], allowed: 'http://… or https://…' }),
    },
    log: {
      level: reader.oneOf('LOG_LEVEL', LOG_LEVELS, 'info'),
      format: reader.oneOf('LOG_FORMAT', ['json', 'pretty'] as const, terminal && !production ? 'pretty' : 'json'),
    },
    shutdownTimeoutMs: reader.integer('SHUTDOWN_TIMEOUT_MS', 15_000, { min: 100, max: 15 * MINUTE }),
    failAt: failAtOf(reader, production),
  };
}

function rolesOf(reader: EnvironmentReader): readonly Role[] {
  return (
    (reader.list('ROLES', { matches: new RegExp(`^(${ROLES.join('|')})$`), allowed: ROLES.join(', ') }) as readonly Role[] | undefined) ??
    ROLES
  );
}

function databaseOf(reader: EnvironmentReader, production: boolean): DatabaseConfig {
  const url = reader.secretUrl('DATABASE_URL', {
    protocols: ['postgres:', 'postgresql:'],
    allowed: 'postgresql://user:password@host:5432/database',
  });
  if (production) {
    reader.require('DATABASE_URL', 'in production PostgreSQL is not started here; give postgresql://user:password@host:5432/database');
    if (url !== undefined && hasCredentials(url, 'postgres', 'postgres')) {
      reader.refuse('DATABASE_URL', 'has the default credentials of PostgreSQL; in production give the user a password of its own');
    }
  }
  return {
    url,
    poolSize: reader.integer('DATABASE_POOL_SIZE', 10, { min: 1, max: 1000 }),
    transactionTimeoutMs: reader.integer('DATABASE_TRANSACTION_TIMEOUT_MS', 5000, { min: 100, max: 10 * MINUTE }),
    preparedStatements: reader.flag('DATABASE_PREPARED_STATEMENTS', true),
    migrateOnBoot: reader.flag('MIGRATE_ON_BOOT', true),
  };
}

function brokerOf(reader: EnvironmentReader, production: boolean, leaseMs: number): BrokerConfig {
  const name = reader.oneOf('BROKER', BROKERS, 'postgres');
  return {
    name,
    namespace:
      reader.text('BROKER_NAMESPACE', {
        matches: /^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$/,
        allowed: '1 to 40 letters, digits, - and _, beginning with a letter or digit',
      }) ?? 'waybill',
    provision: reader.flag('BROKER_PROVISION', true),
    kafka: kafkaOf(reader, name === 'kafka', production),
    rabbitmq: rabbitmqOf(reader, name === 'rabbitmq', production),
    sqs: sqsOf(reader, name === 'sqs', production),
    postgres: { leaseMs },
  };
}

function kafkaOf(reader: EnvironmentReader, chosen: boolean, production: boolean): KafkaConfig {
  const brokers = reader.list('KAFKA_BROKERS', { matches: HOST_AND_PORT, allowed: 'host:port' });
  if (chosen) reader.require('KAFKA_BROKERS', 'BROKER=kafka needs it; allowed: host:port, separated by commas');
  const replicationFactor = reader.integer('KAFKA_REPLICATION_FACTOR', production ? 3 : 1, { min: 1, max: 100 });
  const minInsyncReplicas = reader.integer('KAFKA_MIN_INSYNC_REPLICAS', Math.min(production ? 2 : 1, replicationFactor), {
    min: 1,
    max: 100,
  });
  if (minInsyncReplicas > replicationFactor) {
    reader.refuse(
      'KAFKA_MIN_INSYNC_REPLICAS',
      `is "${minInsyncReplicas}", more than KAFKA_REPLICATION_FACTOR (${replicationFactor}): nothing could be published; allowed: 1 to ${replicationFactor}`,
    );
  }
  const ssl = reader.flag('KAFKA_SSL', false);
  const ca = reader.certificate('KAFKA_CA_FILE');
  if (reader.isSet('KAFKA_CA_FILE') && !ssl) reader.refuse('KAFKA_CA_FILE', 'is set, but without KAFKA_SSL=true nothing is encrypted');
  const mechanism = reader.optionOf('KAFKA_SASL_MECHANISM', SASL_MECHANISMS);
  const username = reader.text('KAFKA_SASL_USERNAME');
  const password = reader.text('KAFKA_SASL_PASSWORD');
  if (reader.isSet('KAFKA_SASL_MECHANISM')) {
    reader.require('KAFKA_SASL_USERNAME', 'KAFKA_SASL_MECHANISM needs it');
    reader.require('KAFKA_SASL_PASSWORD', 'KAFKA_SASL_MECHANISM needs it');
  } else if (username !== undefined || password !== undefined) {
    reader.require('KAFKA_SASL_MECHANISM', `KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD need it; allowed: ${SASL_MECHANISMS.join(', ')}`);
  }
  return {
    brokers: brokers ?? [],
    partitions: reader.integer('KAFKA_PARTITIONS', 8, { min: 1, max: 10_000 }),
    replicationFactor,
    minInsyncReplicas,
    sessionTimeoutMs: reader.integer('KAFKA_SESSION_TIMEOUT_MS', 6000, { min: 6000, max: 30 * MINUTE }),
    requestTimeoutMs: reader.integer('KAFKA_REQUEST_TIMEOUT_MS', 10_000, { min: 500, max: 10 * MINUTE }),
    ssl,
    ca,
    sasl: mechanism !== undefined && username !== undefined && password !== undefined ? { mechanism, username, password } : undefined,
  };
}

function rabbitmqOf(reader: EnvironmentReader, chosen: boolean, production: boolean): RabbitmqConfig {
  const url = reader.secretUrl('RABBITMQ_URL', {
    protocols: ['amqp:', 'amqps:'],
    allowed: 'amqp://user:password@host:5672/vhost or amqps://…',
  });
  if (chosen) reader.require('RABBITMQ_URL', 'BROKER=rabbitmq needs it; allowed: amqp://user:password@host:5672/vhost or amqps://…');
  // Without credentials the client logs in as guest.
  if (production && url !== undefined && (hasCredentials(url, 'guest', 'guest') || hasCredentials(url, '', ''))) {
    reader.refuse('RABBITMQ_URL', 'has the default credentials of RabbitMQ (guest); in production give it a user of its own');
  }
  const ca = reader.certificate('RABBITMQ_CA_FILE');
  if (reader.isSet('RABBITMQ_CA_FILE') && url !== undefined && !url.startsWith('amqps:')) {
    reader.refuse('RABBITMQ_CA_FILE', 'is set, but RABBITMQ_URL is not amqps://, so nothing is encrypted');
  }
  return {
    url: url ?? '',
    queuesPerGroup: reader.integer('RABBITMQ_QUEUES_PER_GROUP', 8, { min: 1, max: 256 }),
    deliveryLimit: reader.integer('RABBITMQ_DELIVERY_LIMIT', 200, { min: 1, max: 100_000 }),
    confirmTimeoutMs: reader.integer('RABBITMQ_CONFIRM_TIMEOUT_MS', 10_000, { min: 500, max: 10 * MINUTE }),
    heartbeatSeconds: reader.integer('RABBITMQ_HEARTBEAT_SECONDS', 10, { min: 1, max: 600 }),
    ca,
  };
}

function sqsOf(reader: EnvironmentReader, chosen: boolean, production: boolean): SqsConfig {
  const endpoint = reader.url('SQS_ENDPOINT', { protocols: ['http:', 'https:'], allowed: 'http://host:port or https://…' });
  const region = reader.text('AWS_REGION', { matches: /^[a-z0-9-]{1,40}$/, allowed: 'a region, like eu-central-1' });
  if (chosen && !reader.isSet('SQS_ENDPOINT'))
    reader.require('AWS_REGION', 'BROKER=sqs needs it, or SQS_ENDPOINT for a server of your own');
  return {
    endpoint,
    region: region ?? 'us-east-1',
    anyCredentials: !namesCredentials(reader) && !production && endpoint?.startsWith('http:') === true,
    visibilityTimeoutSeconds: reader.integer('SQS_VISIBILITY_TIMEOUT_SECONDS', 10, { min: 2, max: 43_200 }),
    maxReceiveCount: reader.integer('SQS_MAX_RECEIVE_COUNT', 200, { min: 1, max: 1000 }),
  };
}

/** The SDK reads them itself; here it only matters whether there are any. */
function namesCredentials(reader: EnvironmentReader): boolean {
  const names = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_PROFILE'];
  return names.map((name) => reader.isSet(name)).includes(true);
}

function delaysOf(reader: EnvironmentReader): { baseDelayMs: number; maxDelayMs: number } {
  const baseDelayMs = reader.integer('RETRY_BASE_DELAY_MS', 500, { min: 1, max: DAY });
  const maxDelayMs = reader.integer('RETRY_MAX_DELAY_MS', Math.max(30_000, baseDelayMs), { min: 1, max: DAY });
  if (maxDelayMs < baseDelayMs) {
    reader.refuse(
      'RETRY_MAX_DELAY_MS',
      `is "${maxDelayMs}", less than RETRY_BASE_DELAY_MS (${baseDelayMs}); allowed: ${baseDelayMs} to ${DAY}`,
    );
  }
  return { baseDelayMs, maxDelayMs };
}

function inFlightOf(reader: EnvironmentReader): { concurrency: number; maxInFlight: number } {
  const concurrency = reader.integer('CONSUMER_CONCURRENCY', 32, { min: 1, max: 10_000 });
  const maxInFlight = reader.integer('CONSUMER_MAX_IN_FLIGHT', Math.max(256, concurrency), { min: 1, max: 100_000 });
  if (maxInFlight < concurrency) {
    reader.refuse(
      'CONSUMER_MAX_IN_FLIGHT',
      `is "${maxInFlight}", less than CONSUMER_CONCURRENCY (${concurrency}), which could never be reached; allowed: ${concurrency} to 100000`,
    );
  }
  return { concurrency, maxInFlight };
}

function paymentOf(reader: EnvironmentReader, production: boolean): Config['payment'] {
  const gateway = reader.oneOf('PAYMENT_GATEWAY', ['sandbox'] as const, 'sandbox');
  if (production) reader.require('PAYMENT_GATEWAY', 'in production the gateway must be said explicitly; allowed: sandbox');
  return { gateway };
}

function failAtOf(reader: EnvironmentReader, production: boolean): string | undefined {
  const point = FAILPOINTS.map((name) => name.replace('.', '\\.')).join('|');
  const failAt = reader.text('FAIL_AT', {
    matches: new RegExp(`^(${point})(:(exit|kill))?(@[1-9]\\d{0,8})?$`),
    allowed: `one of ${FAILPOINTS.join(', ')}, each also with :exit or :kill, and with @n for the n-th time`,
  });
  if (production && reader.isSet('FAIL_AT'))
    reader.refuse('FAIL_AT', 'ends the process on purpose, for tests; it is not allowed in production');
  return failAt;
}

function hasCredentials(url: string, username: string, password: string): boolean {
  const parsed = new URL(url);
  return parsed.username === username && parsed.password === password;
}
