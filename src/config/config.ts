/** Injection token of the process's Config. */
export const CONFIG = Symbol('CONFIG');

export const BROKERS = ['postgres', 'kafka', 'rabbitmq', 'sqs'] as const;
export type BrokerName = (typeof BROKERS)[number];

export const ROLES = ['http', 'relay', 'consumers'] as const;
export type Role = (typeof ROLES)[number];

/** Everything the environment decides, parsed and checked; `readConfig` makes it, nothing else reads process.env. */
export interface Config {
  /** NODE_ENV=production */
  readonly production: boolean;
  /** Unique to this process: `<host>-<pid>-<random>`; owner of leases. */
  readonly instance: string;
  readonly roles: ReadonlySet<Role>;
  readonly http: {
    readonly host: string;
    readonly port: number;
    readonly opsToken: string | undefined;
    readonly publicMetrics: boolean;
    readonly publicDocs: boolean;
  };
  readonly database: DatabaseConfig;
  readonly broker: BrokerConfig;
  readonly outbox: OutboxConfig;
  readonly consumers: ConsumersConfig;
  readonly orders: {
    /** Orders that are placed at the same time share a transaction. */
    readonly groupCommit: boolean;
  };
  readonly payment: { readonly gateway: 'sandbox' };
  readonly notify: NotifyConfig;
  readonly log: { readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'; readonly format: 'json' | 'pretty' };
  readonly shutdownTimeoutMs: number;
  readonly failAt: string | undefined;
}

export interface DatabaseConfig {
  /** undefined: PostgreSQL is started here, under `.waybill/`. */
  readonly url: string | undefined;
  readonly poolSize: number;
  /** Bound of a business transaction, and of the wait for a connection. */
  readonly transactionTimeoutMs: number;
  /** Whether statements that come again are kept by the server, parsed, for as long as a connection lives. */
  readonly preparedStatements: boolean;
  readonly migrateOnBoot: boolean;
}

export interface BrokerConfig {
  readonly name: BrokerName;
  /** Prefix of every topic, exchange, queue and group. */
  readonly namespace: string;
  /** false: only check that what is needed exists. */
  readonly provision: boolean;
  readonly kafka: KafkaConfig;
  readonly rabbitmq: RabbitmqConfig;
  readonly sqs: SqsConfig;
  readonly postgres: { readonly leaseMs: number };
}

export interface KafkaConfig {
  readonly brokers: readonly string[];
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly minInsyncReplicas: number;
  readonly sessionTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly ssl: boolean;
  /** PEM text of the certificate authority, when it is not a public one. */
  readonly ca: string | undefined;
  readonly sasl:
    { readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'; readonly username: string; readonly password: string } | undefined;
}

export interface RabbitmqConfig {
  /** amqp:// or amqps:// with user and password. */
  readonly url: string;
  /** Queues a group has per topic; a key always falls into the same one. WARNING: changing it on a live system needs empty queues. */
  readonly queuesPerGroup: number;
  readonly deliveryLimit: number;
  readonly confirmTimeoutMs: number;
  readonly heartbeatSeconds: number;
  readonly ca: string | undefined;
}

export interface SqsConfig {
  /** undefined: AWS itself, by region. */
  readonly endpoint: string | undefined;
  readonly region: string;
  /** The endpoint is an emulator's and the environment names no credentials: any will do. */
  readonly anyCredentials: boolean;
  readonly visibilityTimeoutSeconds: number;
  readonly maxReceiveCount: number;
}

export interface OutboxConfig {
  readonly lanes: number;
  readonly leaseMs: number;
  readonly pollIntervalMs: number;
  readonly batchSize: number;
  /** Tries of one refused message before the topic's policy applies. */
  readonly maxAttempts: number;
}

export interface ConsumersConfig {
  /** Attempts an event gets, the first included. */
  readonly maxAttempts: number;
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
  readonly handlerTimeoutMs: number;
  /** Keys of one subscription that are handled at the same time. */
  readonly concurrency: number;
  readonly maxInFlight: number;
  readonly inboxRetentionDays: number;
}

export interface NotifyConfig {
  /** smtp:// or smtps:// with its credentials; undefined: no mail is sent. */
  readonly smtpUrl: string | undefined;
  readonly smtpFrom: string;
  readonly webhookUrl: string | undefined;
}
