import { describe, expect, it } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ConfigError } from './config.errors.js';
import { configVariables, readConfig } from './read-config.js';

const PRODUCTION = { NODE_ENV: 'production', DATABASE_URL: 'postgresql://app:f4zJ@db:5432/app', PAYMENT_GATEWAY: 'sandbox' };

function problemsOf(env: NodeJS.ProcessEnv): readonly string[] {
  try {
    readConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('readConfig', () => {
  it('needs nothing at all for trying out', () => {
    const config = readConfig({}, { terminal: false });
    expect(config).toMatchObject({
      production: false,
      http: { host: '127.0.0.1', port: 3000, opsToken: undefined, publicMetrics: false, publicDocs: false },
      database: { url: undefined, poolSize: 10, transactionTimeoutMs: 5000, preparedStatements: true, migrateOnBoot: true },
      broker: {
        name: 'postgres',
        namespace: 'waybill',
        provision: true,
        kafka: {
          brokers: [],
          partitions: 8,
          replicationFactor: 1,
          minInsyncReplicas: 1,
          sessionTimeoutMs: 6000,
          requestTimeoutMs: 10_000,
          ssl: false,
        },
        rabbitmq: { queuesPerGroup: 8, deliveryLimit: 200, confirmTimeoutMs: 10_000, heartbeatSeconds: 10 },
        sqs: { endpoint: undefined, anyCredentials: false, visibilityTimeoutSeconds: 10, maxReceiveCount: 200 },
        postgres: { leaseMs: 6000 },
      },
      outbox: { lanes: 16, leaseMs: 6000, pollIntervalMs: 1000, batchSize: 500, maxAttempts: 10 },
      consumers: {
        maxAttempts: 5,
        baseDelayMs: 500,
        maxDelayMs: 30_000,
        handlerTimeoutMs: 10_000,
        concurrency: 32,
        maxInFlight: 256,
        inboxRetentionDays: 14,
      },
      payment: { gateway: 'sandbox' },
      notify: { smtpUrl: undefined, webhookUrl: undefined },
      log: { level: 'info', format: 'json' },
      shutdownTimeoutMs: 15_000,
      failAt: undefined,
    });
    expect([...config.roles]).toEqual(['http', 'relay', 'consumers']);
  });

  it('is stricter and wider in production', () => {
    expect(readConfig(PRODUCTION, { terminal: true })).toMatchObject({
      production: true,
      http: { host: '0.0.0.0' },
      broker: { kafka: { replicationFactor: 3, minInsyncReplicas: 2 } },
      log: { format: 'json' },
    });
  });

  it('writes for people on a terminal', () => {
    expect(readConfig({}, { terminal: true }).log.format).toBe('pretty');
    expect(readConfig({ LOG_FORMAT: 'json' }, { terminal: true }).log.format).toBe('json');
  });

  it('names every instance differently', () => {
    expect(readConfig({}).instance).not.toBe(readConfig({}).instance);
  });

  it('takes an empty value for an unset one, and trims', () => {
    expect(readConfig({ PORT: '', DATABASE_URL: ' ', BROKER: ' postgres ' })).toMatchObject({
      http: { port: 3000 },
      database: { url: undefined },
    });
  });

  it('reads a full configuration of each broker', () => {
    const sasl = { KAFKA_SASL_MECHANISM: 'scram-sha-512', KAFKA_SASL_USERNAME: 'app', KAFKA_SASL_PASSWORD: 'p@ss' };
    expect(readConfig({ BROKER: 'kafka', KAFKA_BROKERS: 'a:9092, [::1]:9093', KAFKA_SSL: 'true', ...sasl }).broker).toMatchObject({
      name: 'kafka',
      kafka: { brokers: ['a:9092', '[::1]:9093'], ssl: true, sasl: { mechanism: 'scram-sha-512', username: 'app', password: 'p@ss' } },
    });
    expect(readConfig({ BROKER: 'rabbitmq', RABBITMQ_URL: 'amqp://guest:guest@localhost' }).broker.rabbitmq.url).toBe(
      'amqp://guest:guest@localhost',
    );
    expect(readConfig({ BROKER: 'sqs', SQS_ENDPOINT: 'http://localhost:9324' }).broker.sqs).toMatchObject({
      endpoint: 'http://localhost:9324',
      region: 'us-east-1',
      anyCredentials: true,
    });
    for (const given of [
      { AWS_ACCESS_KEY_ID: 'key' },
      { AWS_PROFILE: 'shop' },
      { SQS_ENDPOINT: 'https://sqs.example.com' },
      { SQS_ENDPOINT: '', AWS_REGION: 'eu-central-1' },
      PRODUCTION,
    ])
      expect(readConfig({ BROKER: 'sqs', SQS_ENDPOINT: 'http://localhost:9324', ...given }).broker.sqs.anyCredentials).toBe(false);
    expect(readConfig({ BROKER: 'sqs', AWS_REGION: 'eu-central-1' }).broker.sqs).toMatchObject({
      endpoint: undefined,
      region: 'eu-central-1',
    });
  });

  it('reads a certificate authority from its file', () => {
    const directory = mkdtempSync(path.join(tmpdir(), 'waybill-'));
    const good = path.join(directory, 'ca.pem');
    const bad = path.join(directory, 'empty.pem');
    writeFileSync(good, '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n');
    writeFileSync(bad, '');
    try {
      expect(readConfig({ KAFKA_SSL: 'true', KAFKA_CA_FILE: good }).broker.kafka.ca).toContain('BEGIN CERTIFICATE');
      expect(problemsOf({ KAFKA_SSL: 'true', KAFKA_CA_FILE: bad })).toEqual([
        expect.stringMatching(/^KAFKA_CA_FILE .*holds no certificate/),
      ]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('a wrong value is named, with what is allowed', () => {
  const wrong: [name: string, value: string, says: RegExp][] = [
    ['NODE_ENV', 'prod', /is "prod"; allowed: development, test, production/],
    ['PORT', '65536', /is "65536"; allowed: a whole number from 0 to 65535/],
    ['PORT', '3000.5', /is "3000.5"; allowed: a whole number/],
    ['PORT', '0x50', /allowed: a whole number/],
    ['PORT', '1e3', /allowed: a whole number/],
    ['HOST', 'a b', /allowed: a host name or an IP address/],
    ['ROLES', 'http,worker', /is "http,worker"; allowed: http, relay, consumers/],
    ['ROLES', 'http,http', /each once/],
    ['ROLES', ',', /allowed/],
    ['OPS_TOKEN', 'two words', /its value is not shown.*visible ASCII/],
    ['PUBLIC_METRICS', 'yes', /is "yes"; allowed: true, false/],
    ['PUBLIC_DOCS', '1', /allowed: true, false/],
    ['DATABASE_URL', 'mysql://u:p@h/d', /not shown.*postgresql:\/\//],
    ['DATABASE_URL', 'localhost', /not shown/],
    ['DATABASE_POOL_SIZE', '0', /from 1 to/],
    ['DATABASE_TRANSACTION_TIMEOUT_MS', '5s', /whole number/],
    ['DATABASE_PREPARED_STATEMENTS', 'yes', /allowed: true, false/],
    ['MIGRATE_ON_BOOT', 'no', /allowed: true, false/],
    ['BROKER', 'kafak', /is "kafak"; allowed: postgres, kafka, rabbitmq, sqs; did you mean kafka\?/],
    ['BROKER', 'Kafka', /did you mean kafka\?/],
    ['BROKER', 'nats', /allowed: postgres, kafka, rabbitmq, sqs$/],
    ['BROKER_NAMESPACE', 'a.b', /letters, digits/],
    ['BROKER_NAMESPACE', 'a'.repeat(41), /1 to 40/],
    ['BROKER_PROVISION', 'maybe', /allowed: true, false/],
    ['KAFKA_BROKERS', 'localhost', /is "localhost"; allowed: host:port/],
    ['KAFKA_BROKERS', 'kafka://a:1', /allowed: host:port/],
    ['KAFKA_PARTITIONS', '-1', /from 1/],
    ['KAFKA_REPLICATION_FACTOR', 'three', /is "three"/],
    ['KAFKA_MIN_INSYNC_REPLICAS', '2', /more than KAFKA_REPLICATION_FACTOR \(1\)/],
    ['KAFKA_SESSION_TIMEOUT_MS', '10', /from 6000/],
    ['KAFKA_REQUEST_TIMEOUT_MS', '1', /from 500/],
    ['KAFKA_SSL', 'on', /allowed: true, false/],
    ['KAFKA_CA_FILE', '/nowhere/ca.pem', /cannot be read \(ENOENT\)|KAFKA_SSL=true/],
    ['KAFKA_SASL_MECHANISM', 'gssapi', /allowed: plain, scram-sha-256, scram-sha-512/],
    ['RABBITMQ_URL', 'http://a', /not shown.*amqp:\/\//],
    ['RABBITMQ_CA_FILE', '/nowhere', /cannot be read/],
    ['RABBITMQ_QUEUES_PER_GROUP', '1000', /from 1 to 256/],
    ['RABBITMQ_DELIVERY_LIMIT', 'x', /whole number/],
    ['RABBITMQ_CONFIRM_TIMEOUT_MS', 'x', /whole number/],
    ['RABBITMQ_HEARTBEAT_SECONDS', '0', /from 1/],
    ['SQS_ENDPOINT', 'localhost:9324', /is "localhost:9324"; allowed: http/],
    ['AWS_REGION', 'EU Central', /allowed: a region/],
    ['SQS_VISIBILITY_TIMEOUT_SECONDS', '1', /from 2/],
    ['SQS_MAX_RECEIVE_COUNT', '0', /from 1/],
    ['OUTBOX_POLL_INTERVAL_MS', '1', /from 10/],
    ['ORDERS_GROUP_COMMIT', 'perhaps', /allowed: true, false/],
    ['OUTBOX_BATCH_SIZE', '0', /from 1/],
    ['OUTBOX_LANES', '0', /from 1/],
    ['OUTBOX_LEASE_MS', '1', /from 1000/],
    ['OUTBOX_MAX_ATTEMPTS', '0', /from 1/],
    ['RETRY_MAX_ATTEMPTS', '0', /from 1/],
    ['RETRY_BASE_DELAY_MS', '0', /from 1/],
    ['RETRY_MAX_DELAY_MS', '100', /less than RETRY_BASE_DELAY_MS \(500\)/],
    ['HANDLER_TIMEOUT_MS', '9999999999999999', /whole number/],
    ['SHUTDOWN_TIMEOUT_MS', 'Infinity', /whole number/],
    ['CONSUMER_CONCURRENCY', '0', /from 1/],
    ['CONSUMER_MAX_IN_FLIGHT', '16', /less than CONSUMER_CONCURRENCY \(32\)/],
    ['INBOX_RETENTION_DAYS', '0', /from 1/],
    ['PAYMENT_GATEWAY', 'stripe', /is "stripe"; allowed: sandbox/],
    ['SMTP_URL', 'mail.example.com', /not shown.*smtp:\/\//],
    ['SMTP_FROM', 'nobody', /allowed: a mail address/],
    ['NOTIFY_WEBHOOK_URL', 'ftp://x', /not shown.*http/],
    ['LOG_LEVEL', 'verbose', /is "verbose"; allowed: trace, debug, info, warn, error, fatal, silent/],
    ['LOG_LEVEL', 'wran', /did you mean warn\?/],
    ['LOG_FORMAT', 'xml', /allowed: json, pretty/],
    ['FAIL_AT', 'relay.sometimes', /allowed: one of order\.beforeCommit/],
    ['FAIL_AT', 'relay.afterPublish:stop', /each also with :exit or :kill/],
  ];

  it.each(wrong)('%s=%s', (name, value, says) => {
    const problems = problemsOf({ [name]: value });
    expect(problems).toContainEqual(expect.stringMatching(says));
    expect(problems.filter((problem) => problem.startsWith(`${name} `))).not.toEqual([]);
  });

  it('has a row here for every variable that can be wrong', () => {
    const free = ['KAFKA_SASL_USERNAME', 'KAFKA_SASL_PASSWORD', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_PROFILE'];
    expect(new Set([...wrong.map(([name]) => name), ...free])).toEqual(new Set(configVariables()));
  });
});

describe('what must be there', () => {
  const missing: [env: NodeJS.ProcessEnv, ...names: string[]][] = [
    [{ BROKER: 'kafka' }, 'KAFKA_BROKERS'],
    [{ BROKER: 'rabbitmq' }, 'RABBITMQ_URL'],
    [{ BROKER: 'sqs' }, 'AWS_REGION'],
    [{ NODE_ENV: 'production' }, 'DATABASE_URL', 'PAYMENT_GATEWAY'],
    [{ KAFKA_SASL_MECHANISM: 'plain' }, 'KAFKA_SASL_USERNAME', 'KAFKA_SASL_PASSWORD'],
    [{ KAFKA_SASL_USERNAME: 'app', KAFKA_SASL_PASSWORD: 'x' }, 'KAFKA_SASL_MECHANISM'],
  ];
  it.each(missing)('%j', (env, ...names) => {
    expect(problemsOf(env)).toEqual(names.map((name) => expect.stringMatching(new RegExp(`^${name} is missing; `))));
  });

  const refused: [env: NodeJS.ProcessEnv, says: RegExp][] = [
    [{ ...PRODUCTION, FAIL_AT: 'order.afterCommit' }, /^FAIL_AT .*not allowed in production/],
    [{ ...PRODUCTION, DATABASE_URL: 'postgres://postgres:postgres@db/app' }, /^DATABASE_URL has the default credentials/],
    [{ ...PRODUCTION, BROKER: 'rabbitmq', RABBITMQ_URL: 'amqp://guest:guest@mq' }, /^RABBITMQ_URL has the default credentials/],
    [{ ...PRODUCTION, BROKER: 'rabbitmq', RABBITMQ_URL: 'amqp://mq' }, /^RABBITMQ_URL has the default credentials/],
    [{ KAFKA_CA_FILE: new URL(import.meta.url).pathname }, /^KAFKA_CA_FILE .*(KAFKA_SSL=true|no certificate)/],
  ];
  it.each(refused)('refuses %j', (env, says) => {
    expect(problemsOf(env)).toEqual(expect.arrayContaining([expect.stringMatching(says)]));
  });
});

describe('a name nobody reads', () => {
  const slips: [name: string, meant: string][] = [
    ['BROKERS', 'BROKER'],
    ['BORKER', 'BROKER'],
    ['DATABSE_URL', 'DATABASE_URL'],
    ['LOG_LEVEl', 'LOG_LEVEL'],
    ['ROLE', 'ROLES'],
    ['OPS_TOKE', 'OPS_TOKEN'],
    ['KAFKA_BROKER_LIST', 'KAFKA_BROKERS'],
    ['RABBITMQ_URI', 'RABBITMQ_URL'],
    ['SQS_ENDPOINT_URL', 'SQS_ENDPOINT'],
    ['RETRY_MAX_ATTEMPT', 'RETRY_MAX_ATTEMPTS'],
    ['RETRY_ATTEMPTS', 'RETRY_MAX_ATTEMPTS'],
    ['OUTBOX_POLL_MS', 'OUTBOX_LEASE_MS'],
    ['INBOX_RETENTION', 'INBOX_RETENTION_DAYS'],
  ];
  it.each(slips)('%s: did you mean %s?', (name, meant) => {
    expect(problemsOf({ [name]: 'hunter2' })).toEqual([`${name} is not a variable of this application; did you mean ${meant}?`]);
  });

  const foreign = [
    'PATH',
    'HOSTNAME',
    'HOSTS',
    'POST',
    'DATABASE_NAME',
    'AWS_ACCESS_KEY_ID',
    'LOG_FILE',
    'KAFKA_SERVICE_HOST',
    'KAFKA_PORT_9092_TCP_ADDR',
    'RABBITMQ_PORT',
    'RABBITMQ_SERVICE_PORT_AMQP',
    'KAFKA_HOME',
    'KAFKA_HEAP_OPTS',
    'RABBITMQ_NODENAME',
    'RABBITMQ_DEFAULT_USER',
    'RABBITMQ_MNESIA_BASE',
  ];
  it.each(foreign)("%s is somebody else's", (name) => {
    expect(problemsOf({ [name]: 'x' })).toEqual([]);
  });
});

describe('the message', () => {
  it('lists every problem at once, a line each', () => {
    const env = { BROKER: 'kafak', PORT: 'http', LOG_LEVEL: 'loud', RETRY_MAX_ATEMPTS: '3', NODE_ENV: 'production' };
    expect(() => readConfig(env)).toThrow(ConfigError);
    const problems = problemsOf(env);
    expect(problems.map((problem) => problem.split(' ')[0])).toEqual([
      'PORT',
      'DATABASE_URL',
      'BROKER',
      'PAYMENT_GATEWAY',
      'LOG_LEVEL',
      'RETRY_MAX_ATEMPTS',
    ]);
    expect(new ConfigError(problems).message.split('\n')).toHaveLength(problems.length + 2);
  });

  it('shows no secret, whatever is wrong with it or around it', () => {
    const secret = 'hunter2';
    const env = {
      NODE_ENV: 'production',
      OPS_TOKEN: `a ${secret}`,
      DATABASE_URL: `mysql://app:${secret}@db/app`,
      RABBITMQ_URL: `http://app:${secret}@mq`,
      KAFKA_BROKERS: `app:${secret}@kafka:9092`,
      KAFKA_SASL_PASSWORD: secret,
      SMTP_URL: `ftp://app:${secret}@mail`,
      NOTIFY_WEBHOOK_URL: `ftp://${secret}`,
      SQS_ENDPOINT: `ftp://app:${secret}@sqs`,
      OPS_TOKN: secret,
      RABBITMQ_PASSWORD: secret,
    };
    const { message } = new ConfigError(problemsOf(env));
    for (const name of Object.keys(env).filter((each) => each !== 'NODE_ENV' && each !== 'KAFKA_SASL_PASSWORD'))
      expect(message).toContain(name);
    expect(message).not.toContain(secret);
  });

  it('cannot be forged by a value with line breaks', () => {
    const [problem] = problemsOf({ LOG_FORMAT: 'json\n  - PORT is fine\u001b[2J' });
    expect(problem).not.toMatch(/[\n\u001b]/);
  });
});
