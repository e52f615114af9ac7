import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { startServer, type Server, type ServerName } from '../../scripts/servers/index.mjs';
import type { BrokerName } from '../../src/config/config.js';
import { encode, envelopeOf } from '../../src/messaging/event/event-codec.js';
import { bucketOf } from '../../src/messaging/event/key-hash.js';
import { freshDatabase, type FreshDatabase } from '../../test/support/fresh-database.js';
import { cpuOf } from './cpu.js';
import { EFFECT_TABLE, ThingHappened, THING_TOPIC, THING_TYPE } from './effect.js';
import { STATEMENT_SETTINGS, tellingStatements } from './statements.js';
import { Subject } from './subject.js';

const LANES = 16;
const TEXT = 'x'.repeat(230);

/** One number of one run, with what it cost. */
export interface Figure {
  readonly workload: string;
  /** What was measured, in words; the same in every run. */
  readonly name: string;
  readonly broker: string;
  readonly value: number;
  readonly unit: string;
  /** The names, in the same workload, of the figure of the baseline and of the limit that this one is held against. */
  readonly baseline?: string;
  readonly limit?: string;
  readonly appCpu?: number | undefined;
  readonly databaseCpu?: number | undefined;
  readonly brokerCpu?: number | undefined;
  readonly walBytes?: number | undefined;
  readonly note?: string;
}

export interface Cost {
  readonly seconds: number;
  readonly appCpu: number;
  readonly databaseCpu: number;
  readonly brokerCpu: number;
  readonly walBytes: number;
}

/** A database and a namespace at a broker of one measurement's own. */
export interface Stage {
  readonly broker: BrokerName;
  readonly database: FreshDatabase;
  readonly env: Readonly<Record<string, string>>;
  readonly namespace: string;
  start(program: string, env?: Readonly<Record<string, string>>): Promise<Subject>;
  /** Is done when the measurement is over, however it ends. */
  atEnd(action: () => Promise<void>): void;
  /** What the work takes of the subjects, the database and the broker, from now until it resolves. */
  cost(subjects: readonly { readonly pid: number }[], work: () => Promise<unknown>): Promise<Cost>;
}

/** The servers of a run, and what the workloads have found. */
export class Bench {
  readonly figures: Figure[] = [];
  private readonly servers = new Map<ServerName, Promise<Server>>();

  constructor(
    readonly brokers: readonly BrokerName[],
    readonly events: number,
    readonly say: (text: string) => void,
  ) {}

  /** The same run, its figures and servers, for other brokers. The SQS emulator takes a few hundred messages a second: it gets a tenth. */
  on(brokers: readonly BrokerName[]): Bench {
    const bench = new Bench(brokers, brokers.includes('sqs') ? Math.ceil(this.events / 10) : this.events, this.say);
    return Object.assign(bench, { figures: this.figures, servers: this.servers });
  }

  server(name: ServerName): Promise<Server> {
    let server = this.servers.get(name);
    if (!server) {
      this.say(`starting ${name}`);
      this.servers.set(
        name,
        (server = startServer(name, name === 'postgres' ? { settings: { ...STATEMENT_SETTINGS, ...postgresSettings() } } : {})),
      );
    }
    return server;
  }

  /** Events that go ahead of those that are measured: the compiler has seen the code by then, as in a process that has been up for a while. */
  get warmUp(): number {
    return Math.ceil(this.events / 2);
  }

  async versions(): Promise<string[]> {
    return Promise.all(
      [...this.servers].map(async ([name, server]) => {
        const { description } = await server;
        return name === 'postgres' && POSTGRES_SETTINGS.length > 0 ? `${description} with ${POSTGRES_SETTINGS.join(' ')}` : description;
      }),
    );
  }

  add(figure: Figure): void {
    this.figures.push(figure);
    this.say(`${figure.workload}: ${figure.name} on ${figure.broker}: ${Math.round(figure.value * 100) / 100} ${figure.unit}`);
  }

  /** A figure whose check fails is not printed: the run ends here. */
  check(what: string, found: unknown, wanted: unknown): void {
    if (JSON.stringify(found) !== JSON.stringify(wanted))
      throw new Error(`${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(wanted)}; the figure is worth nothing`);
  }

  async stage<T>(broker: BrokerName, work: (stage: Stage) => Promise<T>): Promise<T> {
    const postgres = await this.server('postgres');
    const server = broker === 'postgres' ? undefined : await this.server(broker);
    const database = await freshDatabase(postgres.env['DATABASE_URL']);
    const namespace = `b${randomUUID().slice(0, 8)}`;
    const env = {
      ...server?.env,
      BROKER: broker,
      BROKER_NAMESPACE: namespace,
      DATABASE_URL: database.url,
      ...tuning(),
      LOG_LEVEL: 'warn',
      LOG_FORMAT: 'json',
    };
    const endings: (() => Promise<void>)[] = [];
    const cpu = (of: readonly { readonly pid: number }[]): [number, number, number] => [
      cpuOf(of.map(({ pid }) => pid)),
      cpuOf(postgres.pids),
      server ? cpuOf(server.pids) : 0,
    ];
    try {
      await database.query(EFFECT_TABLE);
      return await work({
        broker,
        database,
        env,
        namespace,
        start: async (program, more = {}) => {
          const subject = await Subject.start(program, { ...env, ...more });
          endings.push(() => subject.stop());
          return subject;
        },
        atEnd: (action) => void endings.push(action),
        cost: (of, measured) =>
          tellingStatements(database, this.say, async () => {
            const [app, db, brk] = cpu(of);
            const wal = await walOf(database);
            const start = performance.now();
            await measured();
            const seconds = (performance.now() - start) / 1000;
            const [app2, db2, brk2] = cpu(of);
            return { seconds, appCpu: app2 - app, databaseCpu: db2 - db, brokerCpu: brk2 - brk, walBytes: (await walOf(database)) - wal };
          }),
      });
    } finally {
      await Promise.all(endings.map((end) => end()));
      await database.drop();
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.servers.values()].map(async (server) => (await server).dispose()));
  }
}

/** Settings of PostgreSQL to measure with: `BENCH_POSTGRES='shared_buffers=1GB max_wal_size=6GB'`. */
const POSTGRES_SETTINGS = (process.env['BENCH_POSTGRES'] ?? '').split(/\s+/).filter(Boolean);

function postgresSettings(): Record<string, string> {
  return Object.fromEntries(
    POSTGRES_SETTINGS.map((setting) => {
      const [name, value] = setting.split('=');
      if (!name || !value) throw new Error(`BENCH_POSTGRES wants name=value, separated by spaces, not "${setting}".`);
      return [name, value];
    }),
  );
}

/** Settings of the application under test that the environment has: `OUTBOX_BATCH_SIZE=2000 npm run bench`. */
function tuning(): Record<string, string> {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => /^(OUTBOX|CONSUMER|DATABASE_POOL)_/.test(name))) as Record<
    string,
    string
  >;
}

/** What each of so many things has cost. */
export function perEvent({ appCpu, databaseCpu, brokerCpu, walBytes }: Cost, count: number): Omit<Cost, 'seconds'> {
  return { appCpu: appCpu / count, databaseCpu: databaseCpu / count, brokerCpu: brokerCpu / count, walBytes: walBytes / count };
}

async function walOf(database: FreshDatabase): Promise<number> {
  const [row] = await database.query<{ bytes: string }>("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::text AS bytes");
  return Number(row?.bytes);
}

export function keysOf(count: number): string[] {
  return Array.from({ length: count }, () => randomUUID());
}

/** Rows for the groups' effects, one for each key. */
export async function prepareEffects(database: FreshDatabase, groups: readonly string[], keys: readonly string[]): Promise<void> {
  await database.query('INSERT INTO bench_effect (group_name, key) SELECT g, k FROM unnest($1::text[]) AS g, unnest($2::uuid[]) AS k', [
    groups,
    keys,
  ]);
  await database.query('VACUUM ANALYZE bench_effect');
}

/** The last row of each lane. */
export interface LastRows {
  readonly lanes: readonly number[];
  readonly ids: readonly string[];
}

/** So many events, key by key in turn, committed to the outbox at one moment; answers which rows the relay comes to last. */
export async function fillOutbox(database: FreshDatabase, keys: readonly string[], count: number): Promise<LastRows> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  try {
    await client.query('BEGIN');
    for (let from = 0; from < count; from += 5000) {
      const rows = Array.from({ length: Math.min(5000, count - from) }, (_, offset) => {
        const index = from + offset;
        const thingId = keys[index % keys.length] as string;
        const event = Object.assign(new ThingHappened(), { thingId, n: Math.floor(index / keys.length) + 1, text: TEXT });
        const envelope = envelopeOf(event, 'urn:waybill:bench');
        return { envelope, key: thingId, ...encode(envelope) };
      });
      await client.query(
        `INSERT INTO outbox (lane, event_id, topic, type, key, headers, payload)
         SELECT lane, id, '${THING_TOPIC}', '${THING_TYPE}', key, headers, payload
         FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS e(lane, id, key, headers, payload, at) ORDER BY at`,
        [
          rows.map(({ key }) => bucketOf(key, LANES)),
          rows.map(({ envelope }) => envelope.id),
          rows.map(({ key }) => key),
          rows.map(({ headers }) => JSON.stringify(headers)),
          rows.map(({ payload }) => payload),
        ],
      );
    }
    return await commitBacklog(client);
  } finally {
    await client.end();
  }
}

/** Commits what was written to the outbox, and tells the relay; answers which rows it comes to last. */
export async function commitBacklog(client: pg.Client): Promise<LastRows> {
  await client.query('ANALYZE outbox'); // as it would be under a backlog of this size
  const { rows } = await client.query<LastRows>(
    'SELECT array_agg(lane) AS lanes, array_agg(id::text) AS ids FROM (SELECT lane, max(id) AS id FROM outbox GROUP BY lane) AS last',
  );
  await client.query('COMMIT');
  await client.query("SELECT pg_notify('waybill', 'outbox bench')"); // as an instance that emits does after its commit
  return rows[0] as LastRows;
}

/** Waits until a question to the database, asked again a while after each answer, is answered with true. */
export async function until(
  database: FreshDatabase,
  sql: string,
  values: unknown[] = [],
  { limitMs = 180_000, everyMs = 25 }: { readonly limitMs?: number; readonly everyMs?: number } = {},
): Promise<void> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const [row] = await database.query<{ ok: boolean }>(`SELECT (${sql}) AS ok`, values);
    if (row?.ok) return;
    if (performance.now() > deadline) throw new Error(`not within ${limitMs / 1000} s: ${sql}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

/**
 * Waits until the last row of each lane is gone. It asks for these rows by their keys: a question whether any row is left
 * looks through all that were deleted, and takes from the relay what it is to measure.
 */
export async function untilDrained(database: FreshDatabase, { lanes, ids }: LastRows): Promise<void> {
  const gone = `NOT EXISTS (SELECT 1 FROM unnest($1::smallint[], $2::bigint[]) AS last(lane, id),
    LATERAL (SELECT 1 FROM outbox WHERE outbox.lane = last.lane AND outbox.id = last.id LIMIT 1) AS row)`;
  await until(database, gone, [lanes, ids], { everyMs: 5 });
}

/** Each event handled once by the group, each key in its order. */
export async function checkEffects(bench: Bench, database: FreshDatabase, group: string, events: number): Promise<void> {
  const [found] = await database.query(
    'SELECT sum(handled)::int AS handled, sum(disorder)::int AS disorder FROM bench_effect WHERE group_name = $1',
    [group],
  );
  bench.check(`what group ${group} has handled`, found, { handled: events, disorder: 0 });
}
