import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import path from 'node:path';
import { AppModule } from './app.module.js';
import { armFailpoint } from './config/failpoint.js';
import type { Config } from './config/config.js';
import { CONFIG_EXIT_CODE, ConfigError } from './config/config.errors.js';
import { environment } from './config/environment.js';
import { readConfig } from './config/read-config.js';
import { startEmbeddedPostgres, type EmbeddedServer } from './database/embedded-postgres.js';
import { assertMigrated, migrate } from './database/migrations.js';
import { Database } from './database/database.js';
import { isDatabaseUnavailable, isNetworkError } from './database/database-errors.js';
import { HealthRegistry } from './health/health-registry.js';
import { createHttpAdapter, setUpHttp } from './http/index.js';
import { loggedCausation, MessagingLifecycle, serveEventPatterns } from './messaging/index.js';
import { seedDemoCatalogue } from './modules/inventory/demo-catalogue.js';
import { createLogger } from './observability/create-logger.js';
import { NestLogger } from './observability/nest-logger.js';
import type { Logger } from './observability/logger.js';

const DATABASE_WAIT_MS = 60_000;
const DATABASE_RETRY_MS = 500;

/** Reads the configuration, prepares the database, starts the application, and ends it on SIGTERM or SIGINT. Ends the process itself when that fails. */
export async function boot(): Promise<void> {
  const config = configOrExit();
  const logger = createLogger(config, undefined, loggedCausation);
  armFailpoint(config.failAt);
  process.on('unhandledRejection', (error) => {
    logger.fatal({ err: error }, 'a promise was rejected and nobody took notice: this is a defect, the process ends');
    process.exit(1);
  });
  try {
    await run(config, logger);
  } catch (error) {
    logger.fatal({ err: error }, `the application could not start: ${(error as Error).message}`);
    process.exit(1);
  }
}

async function run(config: Config, logger: Logger): Promise<void> {
  const embedded = config.database.url === undefined ? await startEmbedded(logger) : undefined;
  const url = config.database.url ?? (embedded as EmbeddedServer).url;
  await waitingForDatabase(() => prepareDatabase(url, config, logger), logger);

  const app = await NestFactory.create<NestFastifyApplication>(AppModule.for(config, logger, url), createHttpAdapter(config, logger), {
    logger: new NestLogger(logger),
    abortOnError: false,
  });
  setUpHttp(app, config, logger);
  if (!config.production) await waitingForDatabase(() => seedDemoCatalogue(app.get(Database).prisma), logger);
  serveEventPatterns(app);
  await app.startAllMicroservices();
  const messaging = app.get(MessagingLifecycle);
  stopOnSignal(app, messaging, embedded, config, logger);
  await app.listen(config.http.port, config.http.host);
  await waitingForDatabase(() => messaging.start(), logger);
  logger.info(
    { url: await app.getUrl(), broker: config.broker.name, roles: [...config.roles], instance: config.instance },
    'waybill is up',
  );
}

function configOrExit(): Config {
  try {
    return readConfig(environment());
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(CONFIG_EXIT_CODE);
  }
}

function startEmbedded(logger: Logger): Promise<EmbeddedServer> {
  const directory = path.resolve('.waybill', 'postgres');
  logger.info({ directory }, 'DATABASE_URL is not set: starting the embedded PostgreSQL');
  return startEmbeddedPostgres(directory);
}

async function prepareDatabase(url: string, config: Config, logger: Logger): Promise<void> {
  if (!config.database.migrateOnBoot) return assertMigrated(url);
  const applied = await migrate(url);
  if (applied.length > 0) logger.info({ applied }, 'migrations were applied');
}

/** A database that is still starting, as beside us in a compose file, or that is restarted meanwhile, is waited for. */
async function waitingForDatabase<T>(work: () => Promise<T>, logger: Logger): Promise<T> {
  const deadline = performance.now() + DATABASE_WAIT_MS;
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      // A broker that is away rejects nothing here, so a network error is the database's.
      if (!(isDatabaseUnavailable(error) || isNetworkError(error)) || performance.now() > deadline) throw error;
      if (tries === 1) logger.warn({ err: error }, 'the database cannot be reached; waiting for it');
      await new Promise((resolve) => setTimeout(resolve, DATABASE_RETRY_MS));
    }
  }
}

/**
 * Readiness goes red, requests in hand are finished, nothing new is taken, handlers may end, leases are given
 * back. Exit code 0, or 1 when work had to be left to a lease.
 */
function stopOnSignal(
  app: NestFastifyApplication,
  messaging: MessagingLifecycle,
  embedded: EmbeddedServer | undefined,
  config: Config,
  logger: Logger,
): void {
  let stopping = false;
  const stop = async (signal: NodeJS.Signals): Promise<void> => {
    if (stopping) return;
    stopping = true;
    logger.info({ signal }, 'stopping: nothing new is taken, what is in hand is finished');
    app.get(HealthRegistry).markStopping();
    const kill = setTimeout(() => {
      logger.error({ timeoutMs: config.shutdownTimeoutMs }, 'stopping took too long; what is left comes back by its lease');
      process.exit(1);
    }, config.shutdownTimeoutMs);
    kill.unref();
    const closingHttp = app.getHttpServer().listening ? closeHttp(app, config.shutdownTimeoutMs * 0.8) : Promise.resolve();
    const complete = await messaging.stop(config.shutdownTimeoutMs * 0.6);
    await closingHttp;
    await app.close();
    await embedded?.stop();
    logger.info({ complete }, 'stopped');
    process.exit(complete ? 0 : 1);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      stop(signal).catch((error: unknown) => {
        logger.fatal({ err: error }, 'stopping failed');
        process.exit(1);
      });
    });
  }
}

/** Ends the taking of connections; requests in hand get their answers, those whose client has not sent them to the end by then are cut. */
function closeHttp(app: NestFastifyApplication, limitMs: number): Promise<void> {
  const server = app.getHttpServer();
  return new Promise((resolve) => {
    const cut = setTimeout(() => server.closeAllConnections(), limitMs);
    server.close(() => {
      clearTimeout(cut);
      resolve();
    });
    server.closeIdleConnections();
  });
}
