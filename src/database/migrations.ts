import {
  bindMigrationAwareSqlAdapterFactory,
  ColumnTypeEnum,
  type SqlDriverAdapter,
  type SqlMigrationAwareDriverAdapterFactory,
} from '@prisma/driver-adapter-utils';
import { PrismaPg } from '@prisma/adapter-pg';
import type { EventEmitter } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import pg from 'pg';

/** `prisma/` of the application, seen from src/database as from dist/database. */
export const PRISMA_DIRECTORY = fileURLToPath(new URL('../../prisma/', import.meta.url));

const LOCK = 7_239_001;
const LOCK_TIMEOUT_MS = 120_000;

interface SchemaEngine {
  applyMigrations(input: unknown): Promise<{ appliedMigrationNames: string[] }>;
  diff(input: unknown): Promise<{ stdout: string | null }>;
  free(): void;
}

/** The part of WebAssembly's JavaScript interface used here; @types/node leaves it to the browser's types. */
declare const WebAssembly: {
  instantiate(bytes: Uint8Array, imports: Record<string, unknown>): Promise<{ instance: { exports: Record<string, unknown> } }>;
};

const FILTERS = { externalTables: [], externalEnums: [] };

/**
 * Applies the migrations that the database has not had yet, and answers their names. Instances that boot at
 * the same time wait for each other. Keeps the same `_prisma_migrations` table as `prisma migrate deploy`.
 * @throws Error when a migration fails; it is not tried again until somebody has looked
 */
export async function migrate(url: string): Promise<string[]> {
  const client = new pg.Client({ connectionString: url, application_name: 'waybill-migrations', connectionTimeoutMillis: 10_000 });
  client.on('error', () => undefined); // the query in hand, or the next one, says the same
  await client.connect();
  try {
    await client.query(`SET lock_timeout = ${LOCK_TIMEOUT_MS}`);
    await client.query('SELECT pg_advisory_lock($1)', [LOCK]);
    const names = await migrationNames();
    const applied = await appliedNames(client);
    if (names.every((name) => applied.has(name))) return [];
    const migrations = await migrationsList(names);
    return await withSchemaEngine(
      url,
      async (engine) => (await engine.applyMigrations({ migrationsList: migrations, filters: FILTERS })).appliedMigrationNames,
    );
  } finally {
    await client.end(); // which gives the lock back
  }
}

/** Waits until somebody else has applied every migration that this build knows. */
export async function assertMigrated(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  client.on('error', () => undefined); // as above
  await client.connect();
  try {
    const applied = await appliedNames(client);
    const missing = (await migrationNames()).filter((name) => !applied.has(name));
    if (missing.length > 0)
      throw new Error(
        `the database lacks the migrations ${missing.join(', ')}; apply them, or let the boot do it with MIGRATE_ON_BOOT=true`,
      );
  } finally {
    await client.end();
  }
}

/** The SQL that leads from the committed migrations to the models; plays the migrations through in the empty database at `url`. */
export async function migrationSql(url: string): Promise<string> {
  const from = await migrationsList(await migrationNames());
  const files = (await models()).map(([name, content]) => ({ path: name, content }));
  return withSchemaEngine(url, async (engine) => {
    const { stdout } = await engine.diff({
      from: { tag: 'migrations', ...from },
      to: { tag: 'schemaDatamodel', files },
      script: true,
      exitCode: null,
      filters: FILTERS,
    });
    return stdout ?? '';
  });
}

async function withSchemaEngine<T>(url: string, work: (engine: SchemaEngine) => Promise<T>): Promise<T> {
  const pool = new pg.Pool({ connectionString: url, max: 1, Client: CatalogueClient });
  try {
    const { SchemaEngine } = await (glue ??= loadGlue());
    const engine = await SchemaEngine.new(
      { datamodels: await models() },
      () => undefined,
      bindMigrationAwareSqlAdapterFactory(readingCatalogue(pool)),
    );
    try {
      return await work(engine);
    } finally {
      engine.free();
    }
  } finally {
    await pool.end();
  }
}

/** PostgreSQL's type numbers. */
const SINGLE_BYTE_CHAR = 18;
const UUID = 2950;

/**
 * Prisma's adapter knows nothing of the type "char", in which PostgreSQL's catalogue has what the engine must read. So
 * these columns come under the number of uuid, which the catalogue has nowhere, and go on as what they are.
 */
class CatalogueClient extends pg.Client {
  constructor(config?: pg.ClientConfig) {
    super(config);
    const { connection } = this as unknown as { connection: EventEmitter };
    connection.on('rowDescription', ({ fields }: { fields: { dataTypeID: number }[] }) => {
      for (const field of fields) if (field.dataTypeID === SINGLE_BYTE_CHAR) field.dataTypeID = UUID;
    });
  }
}

function readingCatalogue(pool: pg.Pool): SqlMigrationAwareDriverAdapterFactory {
  const factory = new PrismaPg(pool);
  const wrapped = async (connecting: Promise<SqlDriverAdapter>): Promise<SqlDriverAdapter> => {
    const adapter = await connecting;
    const queryRaw = adapter.queryRaw.bind(adapter);
    adapter.queryRaw = async (query) => {
      const result = await queryRaw(query);
      return {
        ...result,
        columnTypes: result.columnTypes.map((type) => (type === ColumnTypeEnum.Uuid ? ColumnTypeEnum.Character : type)),
      };
    };
    return adapter;
  };
  return {
    provider: factory.provider,
    adapterName: factory.adapterName,
    connect: () => wrapped(factory.connect()),
    connectToShadowDb: () => wrapped(factory.connectToShadowDb()),
  };
}

interface Glue {
  __wbg_set_wasm(exports: unknown): void;
  readonly SchemaEngine: { new: (options: unknown, log: () => void, adapter: unknown) => Promise<SchemaEngine> };
}

let glue: Promise<Glue> | undefined;

/** Prisma's schema engine as WebAssembly, so that no binary is downloaded. Once a process: the glue module holds one instance. */
async function loadGlue(): Promise<Glue> {
  Object.assign(globalThis, {
    PRISMA_WASM_PANIC_REGISTRY: {
      set_message(message: string) {
        throw new Error(`Prisma's schema engine gave up: ${message}`);
      },
    },
  });
  const require = createRequire(import.meta.url);
  const directory = path.dirname(require.resolve('@prisma/schema-engine-wasm'));
  const loaded = (await import(pathToFileURL(path.join(directory, 'schema_engine_bg.js')).href)) as Glue;
  const wasm = await WebAssembly.instantiate(await readFile(path.join(directory, 'schema_engine_bg.wasm')), {
    './schema_engine_bg.js': loaded,
  });
  loaded.__wbg_set_wasm(wasm.instance.exports);
  (wasm.instance.exports['__wbindgen_start'] as () => void)();
  return loaded;
}

async function models(): Promise<[name: string, content: string][]> {
  const names = (await readdir(PRISMA_DIRECTORY, { recursive: true })).filter((name) => name.endsWith('.prisma'));
  return Promise.all(
    names.map(async (name): Promise<[string, string]> => [name, await readFile(path.join(PRISMA_DIRECTORY, name), 'utf8')]),
  );
}

async function migrationNames(): Promise<string[]> {
  const entries = await readdir(path.join(PRISMA_DIRECTORY, 'migrations'), { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();
}

async function migrationsList(names: readonly string[]): Promise<object> {
  const folder = path.join(PRISMA_DIRECTORY, 'migrations');
  return {
    baseDir: folder,
    lockfile: { path: 'migration_lock.toml', content: await readFile(path.join(folder, 'migration_lock.toml'), 'utf8') },
    shadowDbInitScript: '',
    migrationDirectories: await Promise.all(
      names.map(async (name) => ({
        path: name,
        migrationFile: {
          path: 'migration.sql',
          content: { tag: 'ok', value: await readFile(path.join(folder, name, 'migration.sql'), 'utf8') },
        },
      })),
    ),
  };
}

async function appliedNames(client: pg.Client): Promise<Set<string>> {
  const exists = await client.query<{ found: boolean }>(`SELECT to_regclass('_prisma_migrations') IS NOT NULL AS found`);
  if (!exists.rows[0]?.found) return new Set();
  const { rows } = await client.query<{ migration_name: string }>(
    'SELECT migration_name FROM _prisma_migrations WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL',
  );
  return new Set(rows.map(({ migration_name }) => migration_name));
}
