import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { migrate } from '../../src/database/migrations.js';
import { serverOf } from './brokers-under-test.js';

export interface FreshDatabase {
  readonly url: string;
  query<R extends pg.QueryResultRow = Record<string, unknown>>(text: string, values?: unknown[]): Promise<R[]>;
  drop(): Promise<void>;
}

/** A migrated database of the test's own, on the run's server or on the one at `serverUrl`. */
export async function freshDatabase(serverUrl?: string): Promise<FreshDatabase> {
  const server = serverUrl ?? (await serverOf('postgres')).env['DATABASE_URL'];
  if (server === undefined) throw new Error('the PostgreSQL server for tests has no DATABASE_URL');
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  const template = await (templates.get(server) ?? makeTemplate(server));
  await onServer(server, `CREATE DATABASE ${name} TEMPLATE ${template}`);
  const url = urlOf(server, name);
  const pool = new pg.Pool({ connectionString: url, max: 3 });
  pool.on('error', () => undefined); // tests restart servers; the next query tells
  return {
    url,
    query: async (text, values) => (await pool.query(text, values)).rows as never,
    drop: async () => {
      await pool.end();
      await onServer(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    },
  };
}

const templates = new Map<string, Promise<string>>();

/** One migrated database a server, which the others are copies of. */
function makeTemplate(server: string): Promise<string> {
  const template = (async () => {
    const name = `template_${randomUUID().replaceAll('-', '')}`;
    await onServer(server, `CREATE DATABASE ${name}`);
    await migrate(urlOf(server, name));
    return name;
  })();
  templates.set(server, template);
  return template;
}

function urlOf(server: string, database: string): string {
  const url = new URL(server);
  url.pathname = `/${database}`;
  return url.href;
}

async function onServer(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
