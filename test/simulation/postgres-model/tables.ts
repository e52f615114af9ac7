import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';

/** A row's columns. Times and intervals are milliseconds, integers of any size are numbers. */
export type Values = Record<string, unknown>;

/** One row with its versions: what is committed, what older snapshots still see, and what its locker has in hand. */
export class Row {
  committed: Values | null = null;
  /** Number of the commit that made `committed`. */
  at = 0;
  older: { at: number; values: Values | null }[] = [];
  lock: Transaction | undefined;
  /** undefined: no change in hand; null: deleted. */
  pending: Values | null | undefined;
  /** The statement that made `pending`, and what was in hand before it, which the statement itself goes on seeing. */
  statement = 0;
  prior: Values | null | undefined;

  constructor(
    readonly table: Table,
    readonly id: number,
  ) {}

  seen(tx: Transaction, snapshot: number, statement: number): Values | null {
    if (this.lock === tx && this.pending !== undefined) {
      if (this.statement !== statement) return this.pending;
      if (this.prior !== undefined) return this.prior;
    }
    if (this.at <= snapshot) return this.committed;
    for (let i = this.older.length - 1; i >= 0; i--) {
      const version = this.older[i] as { at: number; values: Values | null };
      if (version.at <= snapshot) return version.values;
    }
    return null;
  }

  /** What whoever holds the lock builds on. */
  latest(): Values | null {
    return this.pending === undefined ? this.committed : this.pending;
  }
}

export interface Column {
  readonly type: string;
  readonly required: boolean;
  /** What a row that does not name the column gets: a number of the sequence, the time, or always the same. */
  readonly filledBy: 'sequence' | 'clock' | 'constant';
  readonly constant: string | number | boolean | null;
}

interface Index {
  readonly columns: readonly string[];
  readonly rows: Map<string, Set<Row>>;
}

export class Table {
  readonly rows = new Set<Row>();
  readonly indexes: Index[] = [];
  sequence = 0;
  private nextRow = 1;

  constructor(
    readonly name: string,
    readonly columns: ReadonlyMap<string, Column>,
  ) {}

  addIndex(columns: readonly string[]): void {
    this.indexes.push({ columns, rows: new Map() });
  }

  add(): Row {
    const row = new Row(this, this.nextRow++);
    this.rows.add(row);
    return row;
  }

  index(row: Row, values: Values): void {
    for (const { columns, rows } of this.indexes) {
      const key = keyOf(columns, values);
      const found = rows.get(key);
      if (found) found.add(row);
      else rows.set(key, new Set([row]));
    }
  }

  remove(row: Row): void {
    this.rows.delete(row);
    for (const { rows } of this.indexes) for (const [key, found] of rows) if (found.delete(row) && found.size === 0) rows.delete(key);
  }
}

export function keyOf(columns: readonly string[], values: Values): string {
  if (columns.length === 1) return `${String(values[columns[0] as string])}\u0001`;
  let key = '';
  for (const column of columns) key += `${String(values[column])}\u0001`;
  return key;
}

/** An error as PostgreSQL's driver gives it. */
export class ModelDatabaseError extends pg.DatabaseError {
  override readonly routine = 'model';
  constructor(
    override readonly code: string,
    message: string,
  ) {
    super(message, 0, 'error');
  }
}

/** Thrown by a statement that must wait for another transaction; it has had no effect and is run again. */
export class Blocked {
  constructor(readonly holder: Transaction) {}
}

export interface Change {
  readonly table: string;
  readonly before: Values | null;
  readonly after: Values | null;
}

export class Transaction {
  readonly changed = new Set<Row>();
  readonly locked = new Set<Row>();
  readonly advisory = new Set<string>();
  /** What the statement under way has changed, to take it back. */
  undo: { row: Row; prior: Values | null | undefined; fresh: boolean }[] = [];
  waitsFor: Transaction | undefined;
  failed = false;
  ended = false;

  constructor(
    readonly id: number,
    readonly startedAt: number,
  ) {}
}

/** Tables, transactions and locks of PostgreSQL under READ COMMITTED, in memory, one statement at a time. */
export class Storage {
  readonly tables = new Map<string, Table>();
  private readonly advisory = new Map<string, Transaction>();
  private commits = 0;
  private transactions = 0;
  private statements = 0;
  /** Snapshots that waiting statements hold. */
  private held = 0;
  private grave: Row[] = [];
  onCommit: (changes: readonly Change[]) => void = () => undefined;
  /** A transaction has ended: who waits may try again. */
  onEnd: () => void = () => undefined;

  constructor(readonly now: () => number) {}

  begin(): Transaction {
    return new Transaction(++this.transactions, this.now());
  }

  get snapshot(): number {
    return this.commits;
  }

  nextStatement(): number {
    return ++this.statements;
  }

  holdSnapshot(by: 1 | -1): void {
    this.held += by;
  }

  /** @throws Blocked */
  lock(tx: Transaction, row: Row): void {
    if (row.lock === tx) return;
    if (row.lock) throw new Blocked(row.lock);
    row.lock = tx;
    tx.locked.add(row);
  }

  /** @throws Blocked */
  lockAdvisory(tx: Transaction, name: string): void {
    const holder = this.advisory.get(name);
    if (holder && holder !== tx) throw new Blocked(holder);
    this.advisory.set(name, tx);
    tx.advisory.add(name);
  }

  write(tx: Transaction, statement: number, row: Row, values: Values | null, fresh = false): void {
    tx.undo.push({ row, prior: row.pending, fresh });
    if (row.statement !== statement) {
      row.prior = row.pending;
      row.statement = statement;
    }
    row.pending = values;
    tx.changed.add(row);
    if (values) row.table.index(row, values);
  }

  takeBack(tx: Transaction): void {
    for (const { row, prior, fresh } of tx.undo.reverse()) {
      row.pending = prior;
      row.statement = 0;
      if (fresh) {
        tx.changed.delete(row);
        tx.locked.delete(row);
        row.table.remove(row);
      }
    }
    tx.undo = [];
  }

  commit(tx: Transaction): void {
    if (tx.failed) return this.rollback(tx);
    const changes: Change[] = [];
    if (tx.changed.size > 0) {
      const at = ++this.commits;
      for (const row of tx.changed) {
        if (row.pending === undefined) continue;
        const after = row.pending;
        if (row.committed || after) changes.push({ table: row.table.name, before: row.committed, after });
        if (this.held > 0) row.older.push({ at: row.at, values: row.committed });
        row.committed = after;
        row.at = at;
        if (after === null) this.grave.push(row);
      }
    }
    this.release(tx);
    if (this.held === 0 && this.grave.length > 0) {
      for (const row of this.grave) row.table.remove(row);
      this.grave = [];
    }
    if (changes.length > 0) this.onCommit(changes);
    this.onEnd();
  }

  rollback(tx: Transaction): void {
    if (tx.ended) return;
    for (const row of tx.changed) if (row.committed === null && row.at === 0) row.table.remove(row);
    this.release(tx);
    this.onEnd();
  }

  private release(tx: Transaction): void {
    for (const row of tx.locked) {
      row.lock = undefined;
      row.pending = undefined;
      row.prior = undefined;
      row.statement = 0;
      if (this.held === 0 && row.older.length > 0) row.older = [];
    }
    for (const name of tx.advisory) this.advisory.delete(name);
    tx.ended = true;
  }

  /** The committed rows of a table. */
  all(table: string): Values[] {
    return [...(this.tables.get(table)?.rows ?? [])].flatMap((row) => (row.committed ? [row.committed] : []));
  }
}

const migrations = fileURLToPath(new URL('../../../prisma/migrations/', import.meta.url));
let ddl: string | undefined;

function committedMigrations(): string {
  ddl ??= readdirSync(migrations)
    .filter((name) => !name.endsWith('.toml'))
    .sort()
    .map((name) => readFileSync(path.join(migrations, name, 'migration.sql'), 'utf8'))
    .join('\n');
  return ddl;
}

/** The tables that the committed migrations make. */
export function migratedTables(): Map<string, Table> {
  return tablesOf(committedMigrations());
}

/** A function that answers the rows of one query. */
export interface QueryFunction {
  readonly name: string;
  readonly parameters: readonly string[];
  readonly query: string;
}

let functions: readonly QueryFunction[] | undefined;

/** The functions that the committed migrations make. */
export function migratedFunctions(): readonly QueryFunction[] {
  functions ??= [
    ...committedMigrations().matchAll(/CREATE FUNCTION "(\w+)"\(([^)]*)\)[^;]*?AS E'BEGIN RETURN QUERY([^;]*?)\\x3B END';/g),
  ].map(([, name = '', parameters = '', query = '']) => ({
    name,
    parameters: parameters.split(',').map((parameter) => parameter.trim().split(' ')[0] as string),
    query: query.replaceAll("\\'", "'"),
  }));
  return functions;
}

interface Definition {
  readonly name: string;
  readonly columns: ReadonlyMap<string, Column>;
  readonly unique: (readonly string[])[];
}

const definitions = new Map<string, Definition[]>();

/** What CREATE TABLE and CREATE UNIQUE INDEX say, as far as messaging depends on it. */
export function tablesOf(sql: string): Map<string, Table> {
  let known = definitions.get(sql);
  if (!known) definitions.set(sql, (known = read(sql)));
  return new Map(
    known.map(({ name, columns, unique }) => {
      const table = new Table(name, columns);
      for (const index of unique) table.addIndex(index);
      return [name, table];
    }),
  );
}

function read(sql: string): Definition[] {
  const found = new Map<string, Definition>();
  for (const [, name = '', body = ''] of sql.matchAll(/CREATE TABLE "(\w+)" \(\n([\s\S]*?)\n\);/g)) {
    const columns = new Map<string, Column>();
    const unique: string[][] = [];
    for (const line of body.split('\n')) {
      const [, primary] = /PRIMARY KEY \(([^)]*)\)/.exec(line) ?? [];
      if (primary !== undefined) unique.push(names(primary));
      const [, column, type = '', rest = ''] = /^\s*"(\w+)" (\w+)(.*?),?$/.exec(line) ?? [];
      if (column === undefined) continue;
      columns.set(column, { type: TYPES[type] ?? type.toLowerCase(), required: rest.includes('NOT NULL'), ...defaultOf(type, rest) });
    }
    found.set(name, { name, columns, unique });
  }
  for (const [, table = '', column = '', type = '', rest = ''] of sql.matchAll(
    /ALTER TABLE "(\w+)" ADD COLUMN\s+"(\w+)" (\w+)(.*?)[,;]?$/gm,
  )) {
    const columns = found.get(table)?.columns as Map<string, Column> | undefined;
    columns?.set(column, { type: TYPES[type] ?? type.toLowerCase(), required: rest.includes('NOT NULL'), ...defaultOf(type, rest) });
  }
  for (const [, table = '', columns = ''] of sql.matchAll(/CREATE UNIQUE INDEX "\w+" ON "(\w+)"\s*\(([^)]*)\)/g))
    found.get(table)?.unique.push(names(columns));
  return [...found.values()];
}

const TYPES: Readonly<Record<string, string>> = {
  BIGINT: 'int8',
  BIGSERIAL: 'int8',
  INTEGER: 'int4',
  SMALLINT: 'int2',
  BOOLEAN: 'bool',
};

function names(list: string): string[] {
  return [...list.matchAll(/"(\w+)"/g)].map(([, name = '']) => name);
}

function defaultOf(type: string, rest: string): Pick<Column, 'filledBy' | 'constant'> {
  if (type === 'BIGSERIAL') return { filledBy: 'sequence', constant: null };
  const [, text] = /DEFAULT (.+)$/.exec(rest.replace(/,$/, '')) ?? [];
  if (text !== undefined && /^(clock_timestamp|now)\(\)|CURRENT_TIMESTAMP/.test(text)) return { filledBy: 'clock', constant: null };
  return { filledBy: 'constant', constant: text === undefined ? null : constantOf(text) };
}

function constantOf(text: string): string | number | boolean {
  if (/^\d+$/.test(text)) return Number(text);
  if (text === 'true' || text === 'false') return text === 'true';
  return text.replace(/^'(.*)'$/, '$1');
}
