import { randomBytes } from 'node:crypto';
import { startServer, type RabbitServer, type Server } from '../../scripts/servers/index.mjs';
import { freePort } from '../../scripts/lib/ports.mjs';
import type { BrokerName } from '../../src/config/config.js';
import { freshDatabase, type FreshDatabase } from '../support/fresh-database.js';
import { TcpProxy } from '../support/tcp-proxy.js';

/** A server with a bad network before it. */
export interface Reached {
  readonly name: string;
  readonly server: Server;
  readonly proxy: TcpProxy;
}

/** The servers of one run, which nobody else uses, and what the application is told of them. */
export class ShopServers {
  private constructor(
    readonly database: Reached,
    readonly broker: Reached | undefined,
    /** By the direct way, for the observer. */
    readonly tables: FreshDatabase,
    readonly env: Readonly<Record<string, string>>,
    readonly secrets: readonly string[],
  ) {}

  static async start(broker: BrokerName): Promise<ShopServers> {
    const password = `canary-${randomBytes(8).toString('hex')}`;
    const [postgres, own] = await Promise.all([startServer('postgres'), broker === 'postgres' ? undefined : startBroker(broker)]);
    const direct = String(postgres.env['DATABASE_URL']);
    const tables = await freshDatabase(direct);
    // A password that nothing else is called, to be looked for in logs.
    await tables.query(`CREATE ROLE shop LOGIN SUPERUSER PASSWORD '${password}'`);
    const database = { name: 'database', server: postgres, proxy: await TcpProxy.start({ port: Number(new URL(direct).port) }) };
    const url = new URL(database.proxy.through(tables.url));
    url.username = 'shop';
    url.password = password;
    return new ShopServers(database, own?.reached, tables, { BROKER: broker, DATABASE_URL: url.href, ...own?.env(password) }, [password]);
  }

  get all(): Reached[] {
    return [this.database, ...(this.broker ? [this.broker] : [])];
  }

  /** Everything runs again and every way is open. */
  async heal(): Promise<void> {
    for (const { server, proxy } of this.all) {
      server.thaw();
      await proxy.set('ok');
      await server.start();
    }
  }

  async dispose(): Promise<void> {
    await this.tables.drop().catch(() => undefined); // the whole server goes
    for (const { server, proxy } of this.all) {
      await proxy.end();
      await server.dispose();
    }
  }
}

async function startBroker(
  broker: Exclude<BrokerName, 'postgres'>,
): Promise<{ reached: Reached; env: (password: string) => Record<string, string> }> {
  if (broker === 'kafka') {
    // Kafka tells its clients where it is: that must be the proxy.
    const port = await freePort();
    const proxy = await TcpProxy.start({ port });
    const server = await startServer('kafka', { port, advertisedPort: proxy.port });
    return { reached: { name: broker, server, proxy }, env: () => ({ KAFKA_BROKERS: `127.0.0.1:${proxy.port}` }) };
  }
  const server = await startServer(broker);
  const variable = broker === 'rabbitmq' ? 'RABBITMQ_URL' : 'SQS_ENDPOINT';
  const url = String(server.env[variable]);
  const proxy = await TcpProxy.start({ port: Number(new URL(url).port) });
  const reached = { name: broker, server, proxy };
  if (broker === 'sqs') return { reached, env: () => ({ ...server.env, SQS_ENDPOINT: proxy.through(url).replace(/\/$/, '') }) };
  return { reached, env: () => ({ RABBITMQ_URL: proxy.through(url) }) };
}

/** Ends every connection to the broker from its own side; only RabbitMQ has a command for it. */
export async function closeConnections({ server }: Reached): Promise<void> {
  await (server as RabbitServer).ctl('close_all_connections', 'a test');
}
