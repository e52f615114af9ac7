import { randomUUID } from 'node:crypto';
import {
  parse,
  UnknownSqlError,
  type Delete,
  type Expression,
  type Insert,
  type Output,
  type Query,
  type Source,
  type Statement,
  type Update,
} from './parse.js';
import {
  keyOf,
  migratedFunctions,
  ModelDatabaseError,
  type Row,
  type Storage,
  type Table,
  type Transaction,
  type Values,
} from './tables.js';

/** One execution of a statement. */
interface Run {
  readonly storage: Storage;
  readonly tx: Transaction;
  readonly snapshot: number;
  readonly statement: number;
  readonly parameters: readonly unknown[];
  /** By slot: the row that each source stands at. */
  rows: Values[];
  handles: (Row | undefined)[];
  readonly results: Values[][];
  readonly aggregates: unknown[];
  readonly cache: Map<number, unknown>;
}

interface Typed {
  readonly type: string;
  readonly get: (run: Run) => unknown;
  /** The same all through one execution. */
  readonly fixed?: boolean;
}

interface CompiledQuery {
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly correlated: boolean;
  readonly run: (run: Run) => Values[];
}

export interface Answer {
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly rows: readonly Values[];
  readonly count: number;
}

/** A statement ready to be run any number of times. */
export interface Compiled {
  execute(storage: Storage, tx: Transaction, snapshot: number, parameters: readonly unknown[]): Answer;
}

type Columns = ReadonlyMap<string, string>;

class Scope {
  readonly entries: { readonly alias: string; readonly columns: Columns; readonly slot: number }[] = [];
  correlated = false;

  constructor(readonly outer?: Scope) {}

  with(entries: Scope['entries']): this {
    this.entries.push(...entries);
    return this;
  }

  find(table: string | undefined, name: string): { slot: number; type: string } | undefined {
    for (const { alias, columns, slot } of this.entries) {
      const type = columns.get(name);
      if (type !== undefined && (table === undefined || table === alias)) return { slot, type };
    }
    const found = this.outer?.find(table, name);
    if (found) this.correlated = true;
    return found;
  }
}

interface Aggregate {
  readonly index: number;
  readonly start: () => unknown;
  readonly step: (state: unknown, run: Run) => unknown;
}

const AGGREGATES = new Set(['count', 'min', 'max', 'sum', 'array_agg']);
const INTEGERS = new Set(['int2', 'int4', 'int8']);
const CASTS: Readonly<Record<string, string>> = { int: 'int4', integer: 'int4', smallint: 'int2', bigint: 'int8', boolean: 'bool' };

export function compile(sql: string, tables: ReadonlyMap<string, Table>): Compiled {
  return new Compiler(tables, sql).compile(parse(withoutFunctions(sql)));
}

/** The statement with the query of each function in the place of its call. */
function withoutFunctions(sql: string): string {
  return migratedFunctions().reduce(
    (text, { name, parameters, query }) =>
      text.replace(new RegExp(`\\b${name}\\(([^()]*)\\)`, 'g'), (_, given: string) => {
        const values = given.split(',').map((value) => value.trim());
        const body = query.replace(/\w+/g, (word) => values[parameters.indexOf(word)] ?? word);
        return `(${body}) AS ${name}`;
      }),
    sql,
  );
}

class Compiler {
  private slots = 0;
  private aggregateCount = 0;
  private queries = 0;
  private readonly with = new Map<string, { index: number; columns: Columns }>();
  private results = 0;

  constructor(
    private readonly tables: ReadonlyMap<string, Table>,
    private readonly sql: string,
  ) {}

  compile(statement: Statement): Compiled {
    const body = this.statement(statement);
    return {
      execute: (storage, tx, snapshot, parameters) => {
        const run: Run = {
          storage,
          tx,
          snapshot,
          statement: storage.nextStatement(),
          parameters: parameters.map(plain),
          rows: [],
          handles: [],
          results: [],
          aggregates: [],
          cache: new Map(),
        };
        const { rows, count } = body.run(run);
        return { columns: body.columns, rows, count };
      },
    };
  }

  private statement({ with: parts, body }: Statement): {
    columns: readonly { name: string; type: string }[];
    run: (run: Run) => { rows: Values[]; count: number };
  } {
    const before = parts.map(({ name, statement }) => {
      const compiled = this.statement(statement);
      const index = this.results++;
      this.with.set(name, { index, columns: new Map(compiled.columns.map((column) => [column.name, column.type])) });
      return (run: Run): void => {
        run.results[index] = compiled.run(run).rows;
      };
    });
    const main = this.body(body);
    return {
      columns: main.columns,
      run: (run) => {
        for (const part of before) part(run);
        return main.run(run);
      },
    };
  }

  private body(body: Statement['body']): {
    columns: readonly { name: string; type: string }[];
    run: (run: Run) => { rows: Values[]; count: number };
  } {
    if (body.kind === 'insert') return this.insert(body);
    if (body.kind === 'update') return this.change(body);
    if (body.kind === 'delete') return this.change(body);
    const query = this.query(body, undefined);
    return {
      columns: query.columns,
      run: (run) => {
        const rows = query.run(run);
        return { rows, count: rows.length };
      },
    };
  }

  private query(query: Query, outer: Scope | undefined): CompiledQuery {
    const scope = new Scope(outer);
    const { loop, slots } = this.from(query.from, scope);
    const where = query.where && this.expression(query.where, scope);
    const aggregates: Aggregate[] = [];
    const outputs = this.outputs(query.outputs, scope, aggregates);
    // ORDER BY may name an output.
    const order = query.order.map(({ of, descending }) => {
      const named =
        of.kind === 'column' && of.table === undefined && !scope.find(undefined, of.name)
          ? outputs.findIndex(({ name }) => name === of.name)
          : of.kind === 'literal' && typeof of.value === 'number'
            ? of.value - 1
            : -1;
      const value = named >= 0 ? (outputs[named] as Typed) : this.expression(of, scope);
      return { value, descending };
    });
    const limit = query.limit && this.expression(query.limit, scope);
    const union = query.union && this.query(query.union, outer);
    const columns = outputs.map(({ name, type }) => ({ name, type }));
    const locked = query.lock ? slots.filter(({ table }) => table).map(({ slot }) => slot) : [];
    const passes = (run: Run): boolean => !where || where.get(run) === true;
    const output = (run: Run): Values => {
      const values: Values = {};
      for (const { name, get } of outputs) values[name] = get(run);
      return values;
    };

    const run = (run: Run): Values[] => {
      let rows: Values[] = [];
      if (aggregates.length > 0) {
        for (const { index, start } of aggregates) run.aggregates[index] = start();
        loop(run, () => {
          if (passes(run)) for (const { index, step } of aggregates) run.aggregates[index] = step(run.aggregates[index], run);
        });
        rows = [output(run)];
      } else if (order.length === 0 && locked.length === 0) {
        loop(run, () => {
          if (passes(run)) rows.push(output(run));
        });
      } else {
        const found: { rows: Values[]; handles: (Row | undefined)[]; keys: unknown[]; values: Values | undefined }[] = [];
        loop(run, () => {
          if (!passes(run)) return;
          found.push({
            rows: locked.length > 0 ? run.rows.slice() : [],
            handles: locked.length > 0 ? run.handles.slice() : [],
            keys: order.map(({ value }) => value.get(run)),
            values: locked.length > 0 ? undefined : output(run),
          });
        });
        found.sort((a, b) => {
          for (const [index, { descending }] of order.entries()) {
            const difference = compare(a.keys[index], b.keys[index]);
            if (difference !== 0) return descending ? -difference : difference;
          }
          return 0;
        });
        const most = limit ? Number(limit.get(run)) : Infinity;
        const outside = { rows: run.rows, handles: run.handles };
        for (const candidate of found) {
          if (rows.length >= most) break;
          if (candidate.values) rows.push(candidate.values);
          else {
            run.rows = candidate.rows;
            run.handles = candidate.handles;
            if (this.lockAll(run, locked, query.lock === 'skip') && passes(run)) rows.push(output(run));
          }
        }
        run.rows = outside.rows;
        run.handles = outside.handles;
      }
      if (query.distinct) rows = [...new Map(rows.map((row) => [JSON.stringify(row), row])).values()];
      if (limit && rows.length > Number(limit.get(run))) rows.length = Number(limit.get(run));
      return union ? [...rows, ...union.run(run).map((row) => renamed(row, union.columns, columns))] : rows;
    };
    if (union?.correlated) scope.correlated = true;
    return { columns, correlated: scope.correlated, run };
  }

  /** Locks the rows that the sources stand at and steps to their latest versions; false when one is to be skipped or has gone. */
  private lockAll(run: Run, slots: readonly number[], skip: boolean): boolean {
    for (const slot of slots) {
      const row = run.handles[slot] as Row;
      if (skip && row.lock && row.lock !== run.tx) return false;
      run.storage.lock(run.tx, row);
      if (row.at <= run.snapshot || row.pending !== undefined) continue;
      if (!row.committed) return false;
      run.rows[slot] = row.committed;
    }
    return true;
  }

  private from(
    sources: readonly Source[],
    scope: Scope,
  ): { loop: (run: Run, each: () => void) => void; slots: { slot: number; table: Table | undefined }[] } {
    const slots: { slot: number; table: Table | undefined }[] = [];
    const steps = sources.map((source) => {
      const slot = this.slots++;
      const { columns, scan, table } = this.source(source, scope);
      scope.entries.push({ alias: source.alias, columns, slot });
      slots.push({ slot, table });
      const on = source.on && this.expression(source.on, scope);
      return { slot, scan, on, table };
    });
    const walk = (run: Run, index: number, each: () => void): void => {
      const step = steps[index];
      if (!step) return each();
      const { slot, scan, on } = step;
      scan(run, (values, handle) => {
        run.rows[slot] = values;
        run.handles[slot] = handle;
        if (!on || on.get(run) === true) walk(run, index + 1, each);
      });
    };
    return { loop: (run, each) => walk(run, 0, each), slots };
  }

  private source(
    source: Source,
    scope: Scope,
  ): { columns: Columns; table: Table | undefined; scan: (run: Run, each: (values: Values, handle?: Row) => void) => void } {
    if (source.kind === 'query') {
      const query = this.query(source.query as Query, scope);
      return {
        table: undefined,
        columns: new Map(query.columns.map(({ name, type }) => [name, type])),
        scan: (run, each) => {
          for (const values of query.run(run)) each(values);
        },
      };
    }
    if (source.kind === 'function') return { table: undefined, ...this.sourceFunction(source, scope) };
    const part = this.with.get(source.name);
    if (part) {
      return {
        table: undefined,
        columns: part.columns,
        scan: (run, each) => {
          for (const values of run.results[part.index] as Values[]) each(values);
        },
      };
    }
    const table = this.table(source.name);
    return {
      table,
      columns: new Map([...table.columns].map(([name, { type }]) => [name, type])),
      scan: (run, each) => {
        const { rows } = run.storage.tables.get(source.name) as Table;
        for (const row of rows) {
          const values = row.seen(run.tx, run.snapshot, run.statement);
          if (values) each(values, row);
        }
      },
    };
  }

  private sourceFunction(source: Source, scope: Scope): { columns: Columns; scan: (run: Run, each: (values: Values) => void) => void } {
    const of = source.of.map((expression) => this.expression(expression, scope));
    if (source.name === 'generate_series') {
      const name = source.columns[0] ?? source.alias;
      return {
        columns: new Map([[name, 'int4']]),
        scan: (run, each) => {
          const to = Number((of[1] as Typed).get(run));
          for (let n = Number((of[0] as Typed).get(run)); n <= to; n++) each({ [name]: n });
        },
      };
    }
    if (source.name !== 'unnest') return this.refuse(`FROM ${source.name}()`);
    const names = of.map((_, index) => source.columns[index] ?? source.alias);
    const columns = new Map(names.map((name, index) => [name, (of[index] as Typed).type.replace(/\[\]$/, '')]));
    const position = source.ordinality ? (source.columns[of.length] ?? 'ordinality') : undefined;
    if (position !== undefined) columns.set(position, 'int8');
    return {
      columns,
      scan: (run, each) => {
        const arrays = of.map(({ get }) => (get(run) ?? []) as unknown[]);
        const length = Math.max(...arrays.map((array) => array.length));
        for (let i = 0; i < length; i++) {
          const values: Values = {};
          for (const [index, name] of names.entries()) values[name] = arrays[index]?.[i] ?? null;
          if (position !== undefined) values[position] = i + 1;
          each(values);
        }
      },
    };
  }

  private outputs(outputs: readonly Output[], scope: Scope, aggregates: Aggregate[] | undefined): (Typed & { name: string })[] {
    const list = outputs.flatMap(({ of, table, name }) => {
      if (of) return [{ ...this.expression(of, scope, aggregates), name }];
      return scope.entries
        .filter(({ alias }) => table === undefined || alias === table)
        .flatMap(({ columns, slot }) =>
          [...columns].map(([column, type]) => ({ name: column, type, get: (run: Run) => (run.rows[slot] as Values)[column] })),
        );
    });
    // A row holds its values by name, so a name that comes twice gets a number.
    return list.map((output, index) =>
      list.findIndex(({ name }) => name === output.name) === index ? output : { ...output, name: `${output.name} ${index}` },
    );
  }

  private insert(insert: Insert): { columns: { name: string; type: string }[]; run: (run: Run) => { rows: Values[]; count: number } } {
    const table = this.table(insert.table);
    const slot = this.slots++;
    const excluded = this.slots++;
    const scope = new Scope();
    const columns = new Map([...table.columns].map(([name, { type }]) => [name, type]));
    scope.entries.push({ alias: insert.table, columns, slot }, { alias: 'excluded', columns, slot: excluded });
    const query = insert.query && this.query(insert.query, undefined);
    const values = insert.values?.map((row) => row.map((expression) => this.expression(expression, new Scope())));
    const types = insert.columns.map((column) => this.column(table, column).type);
    const set =
      typeof insert.conflict === 'object'
        ? insert.conflict.set.map(({ column, value }) => ({
            column,
            value: this.converted(this.expression(value, scope), this.column(table, column).type),
          }))
        : [];
    const returning = this.outputs(insert.returning, new Scope().with(scope.entries.slice(0, 1)), undefined);
    const records = (run: Run): unknown[][] => {
      if (values) return values.map((row) => row.map(({ get }) => get(run)));
      const compiled = query as CompiledQuery;
      return compiled.run(run).map((row) => compiled.columns.map(({ name }) => row[name]));
    };
    return {
      columns: returning.map(({ name, type }) => ({ name, type })),
      run: (run) => {
        const target = run.storage.tables.get(insert.table) as Table;
        const rows: Values[] = [];
        let count = 0;
        for (const record of records(run)) {
          const fresh: Values = {};
          for (const [name, column] of target.columns) {
            const index = insert.columns.indexOf(name);
            fresh[name] =
              index >= 0
                ? convert(record[index], types[index] as string)
                : column.filledBy === 'sequence'
                  ? ++target.sequence
                  : column.filledBy === 'clock'
                    ? run.storage.now()
                    : column.constant;
            if (column.required && (fresh[name] === null || fresh[name] === undefined))
              throw new ModelDatabaseError(
                '23502',
                `null value in column "${name}" of relation "${target.name}" violates not-null constraint`,
              );
          }
          const twin = conflicting(run, target, fresh);
          if (twin && insert.conflict === 'fail')
            throw new ModelDatabaseError('23505', `duplicate key value violates unique constraint of "${target.name}"`);
          if (twin && insert.conflict === 'nothing') continue;
          let written = fresh;
          if (twin) {
            run.storage.lock(run.tx, twin);
            run.rows[slot] = twin.latest() as Values;
            run.rows[excluded] = fresh;
            written = { ...(twin.latest() as Values) };
            for (const { column, value } of set) written[column] = value.get(run);
            run.storage.write(run.tx, run.statement, twin, written);
          } else {
            const row = target.add();
            run.storage.lock(run.tx, row);
            run.storage.write(run.tx, run.statement, row, fresh, true);
          }
          count++;
          run.rows[slot] = written;
          if (returning.length > 0) rows.push(outputOf(returning, run));
        }
        return { rows, count };
      },
    };
  }

  /** UPDATE and DELETE: find by the snapshot, lock, look again where a row has changed meanwhile, then write. */
  private change(change: Update | Delete): {
    columns: { name: string; type: string }[];
    run: (run: Run) => { rows: Values[]; count: number };
  } {
    const table = this.table(change.table);
    const scope = new Scope();
    const target: Source = {
      kind: 'table',
      name: change.table,
      alias: change.alias,
      columns: [],
      of: [],
      ordinality: false,
      query: undefined,
      on: undefined,
    };
    // What the other sources give comes first: they are small, and LATERAL does not look at the target.
    const { loop, slots } = this.from([...change.from, target], scope);
    const { slot } = slots.at(-1) as { slot: number };
    scope.entries.unshift(scope.entries.pop() as Scope['entries'][number]);
    const where = change.where && this.expression(change.where, scope);
    const set =
      change.kind === 'update'
        ? change.set.map(({ column, value }) => ({
            column,
            value: this.converted(this.expression(value, scope), this.column(table, column).type),
          }))
        : undefined;
    const returning = this.outputs(change.returning, scope, undefined);
    const passes = (run: Run): boolean => !where || where.get(run) === true;
    return {
      columns: returning.map(({ name, type }) => ({ name, type })),
      run: (run) => {
        const found = new Map<Row, { rows: Values[]; handles: (Row | undefined)[] }>();
        loop(run, () => {
          const row = run.handles[slot] as Row;
          if (!found.has(row) && passes(run)) found.set(row, { rows: run.rows.slice(), handles: run.handles.slice() });
        });
        const rows: Values[] = [];
        let count = 0;
        const outside = { rows: run.rows, handles: run.handles };
        const locked: [Row, { rows: Values[]; handles: (Row | undefined)[] }][] = [];
        for (const [row, stand] of found) {
          run.rows = stand.rows;
          run.handles = stand.handles;
          const moved = row.at > run.snapshot;
          if (this.lockAll(run, [slot], false) && (!(moved || row.at > run.snapshot) || passes(run))) locked.push([row, stand]);
        }
        for (const [row, stand] of locked) {
          if (row.statement === run.statement && row.pending !== undefined) continue; // changed by another part of this statement
          run.rows = stand.rows;
          run.handles = stand.handles;
          if (set) {
            const next = { ...(run.rows[slot] as Values) };
            for (const { column, value } of set) next[column] = value.get(run);
            run.storage.write(run.tx, run.statement, row, next);
            run.rows[slot] = next;
          } else run.storage.write(run.tx, run.statement, row, null);
          count++;
          if (returning.length > 0) rows.push(outputOf(returning, run));
        }
        run.rows = outside.rows;
        run.handles = outside.handles;
        return { rows, count };
      },
    };
  }

  private expression(expression: Expression, scope: Scope, aggregates?: Aggregate[]): Typed {
    const compiled = (of: Expression): Typed => this.expression(of, scope, aggregates);
    switch (expression.kind) {
      case 'literal': {
        const { value } = expression;
        const type =
          typeof value === 'number' ? (Number.isInteger(value) ? 'int4' : 'numeric') : typeof value === 'boolean' ? 'bool' : 'unknown';
        return { type, get: () => value, fixed: true };
      }
      case 'interval':
        return { type: 'interval', get: () => expression.ms, fixed: true };
      case 'parameter':
        return { type: 'unknown', get: (run) => run.parameters[expression.index], fixed: true };
      case 'column':
        return this.reference(expression.table, expression.name, scope);
      case 'cast':
        return this.converted(
          compiled(expression.of),
          CASTS[expression.type.replace('[]', '')]?.concat(expression.type.endsWith('[]') ? '[]' : '') ?? expression.type,
        );
      case 'binary':
        return this.binary(expression.operator, compiled(expression.left), compiled(expression.right));
      case 'not': {
        const { get } = compiled(expression.of);
        return { type: 'bool', get: (run) => negate(get(run)) };
      }
      case 'isNull': {
        const { get } = compiled(expression.of);
        const { negated } = expression;
        return {
          type: 'bool',
          get: (run) => {
            const value = get(run);
            return (value === null || value === undefined) !== negated;
          },
        };
      }
      case 'quantified': {
        const left = compiled(expression.left);
        const given = compiled(expression.array);
        const array = given.type === 'unknown' ? this.converted(given, `${left.type}[]`) : given;
        const test = comparison(expression.operator);
        const { all } = expression;
        return {
          type: 'bool',
          get: (run) => {
            const value = left.get(run);
            const list = array.get(run) as unknown[] | null;
            if (list === null || list === undefined || value === null) return null;
            for (const element of list) if (test(value, element) !== all) return !all;
            return all;
          },
        };
      }
      case 'row': {
        const of = expression.of.map(compiled);
        return { type: 'row', get: (run) => of.map(({ get }) => get(run)) };
      }
      case 'in':
        return this.membership(expression, scope, aggregates);
      case 'exists': {
        const query = this.cached(this.query(expression.query, scope));
        return { type: 'bool', get: (run) => query(run).length > 0 };
      }
      case 'scalar': {
        const inner = this.query(expression.query, scope);
        const query = this.cached(inner);
        const { name, type } = inner.columns[0] as { name: string; type: string };
        return {
          type,
          get: (run) => {
            const rows = query(run);
            if (rows.length > 1) throw new ModelDatabaseError('21000', 'more than one row returned by a subquery used as an expression');
            return rows[0]?.[name] ?? null;
          },
        };
      }
      case 'case': {
        const branches = expression.branches.map(({ when, value }) => ({ when: compiled(when), value: compiled(value) }));
        const otherwise = compiled(expression.otherwise);
        const type = [...branches.map(({ value }) => value.type), otherwise.type].find((name) => name !== 'unknown') ?? 'unknown';
        return { type, get: (run) => (branches.find(({ when }) => when.get(run) === true)?.value ?? otherwise).get(run) };
      }
      case 'call':
        return this.call(expression, scope, aggregates);
    }
  }

  private reference(table: string | undefined, name: string, scope: Scope): Typed {
    const found = scope.find(table, name);
    if (found) {
      const { slot, type } = found;
      return { type, get: (run) => (run.rows[slot] as Values)[name] };
    }
    if (name === 'ctid') {
      const slot = (scope.entries[0] as { slot: number }).slot;
      return { type: 'tid', get: (run) => (run.handles[slot] as Row).id };
    }
    return this.refuse(`column ${table === undefined ? '' : `${table}.`}${name}`);
  }

  private membership(expression: Extract<Expression, { kind: 'in' }>, scope: Scope, aggregates: Aggregate[] | undefined): Typed {
    const left = this.expression(expression.left, scope, aggregates);
    const { negated } = expression;
    if (!expression.query) {
      const list = expression.list.map((of) => this.expression(of, scope, aggregates));
      return {
        type: 'bool',
        get: (run) => {
          const value = left.get(run);
          if (value === null) return null;
          return list.some(({ get }) => compare(get(run), value) === 0) !== negated;
        },
      };
    }
    const inner = this.query(expression.query, scope);
    const id = this.queries++;
    const names = inner.columns.map(({ name }) => name);
    const keys = (run: Run): Set<string> => new Set(inner.run(run).map((row) => keyOf(names, row)));
    return {
      type: 'bool',
      get: (run) => {
        let set = run.cache.get(id) as Set<string> | undefined;
        if (!set) {
          set = keys(run);
          if (!inner.correlated) run.cache.set(id, set);
        }
        const value = left.get(run);
        if (value === null) return null;
        const list = Array.isArray(value) ? (value as unknown[]) : [value];
        return set.has(list.map((part) => `${String(part)}\u0001`).join('')) !== negated;
      },
    };
  }

  /** A query that looks at nothing outside is run once a statement. */
  private cached(query: CompiledQuery): (run: Run) => Values[] {
    if (query.correlated) return query.run;
    const id = this.queries++;
    return (run) => {
      let rows = run.cache.get(id) as Values[] | undefined;
      if (!rows) run.cache.set(id, (rows = query.run(run)));
      return rows;
    };
  }

  private call({ name, of, distinct }: Extract<Expression, { kind: 'call' }>, scope: Scope, aggregates: Aggregate[] | undefined): Typed {
    if (AGGREGATES.has(name)) return this.aggregate(name, of[0] && this.expression(of[0], scope), distinct, aggregates);
    const list = of.map((expression) => this.expression(expression, scope, aggregates));
    const [first, second] = list as [Typed, Typed];
    switch (name) {
      case 'now':
        return { type: 'timestamptz', get: (run) => run.tx.startedAt, fixed: true };
      case 'clock_timestamp':
        return { type: 'timestamptz', get: (run) => run.storage.now() };
      case 'coalesce':
      case 'least':
      case 'greatest': {
        const type = list.map((entry) => entry.type).find((entry) => entry !== 'unknown' && entry !== 'int4') ?? first.type;
        const pick = (run: Run): unknown[] => list.map(({ get }) => get(run)).filter((value) => value !== null && value !== undefined);
        if (name === 'coalesce') return { type, get: (run) => pick(run)[0] ?? null };
        const sign = name === 'least' ? -1 : 1;
        return { type, get: (run) => pick(run).reduce((most, value) => (compare(value, most) * sign > 0 ? value : most)) };
      }
      case 'extract':
        return { type: 'numeric', get: (run) => onNumbers(first.get(run), 0, (ms) => ms / 1000) };
      case 'convert_to':
        return { type: 'bytea', get: (run) => Buffer.from(String(first.get(run)), 'utf8') };
      case 'gen_random_uuid':
        return { type: 'uuid', get: () => randomUUID() };
      case 'pg_get_serial_sequence':
        return { type: 'text', get: (run) => `${String(first.get(run))}.${String(second.get(run))}` };
      case 'nextval':
        return {
          type: 'int8',
          get: (run) => {
            const table = run.storage.tables.get(String(first.get(run)).split('.')[0] as string);
            if (!table) throw new ModelDatabaseError('42P01', 'no such sequence');
            return ++table.sequence;
          },
        };
      case 'pg_advisory_xact_lock':
        return {
          type: 'void',
          get: (run) => {
            run.storage.lockAdvisory(run.tx, list.map(({ get }) => String(get(run))).join('/'));
            return null;
          },
        };
      default:
        return this.refuse(`${name}()`);
    }
  }

  private aggregate(name: string, of: Typed | undefined, distinct: boolean, aggregates: Aggregate[] | undefined): Typed {
    if (!aggregates) return this.refuse(`${name}() here`);
    const index = this.aggregateCount++;
    const type = name === 'count' ? 'int8' : name === 'array_agg' ? `${of?.type}[]` : name === 'sum' ? 'numeric' : (of?.type ?? 'unknown');
    const step = (state: unknown, run: Run): unknown => {
      const value = of ? of.get(run) : true;
      if (name === 'array_agg')
        return distinct && (state as unknown[] | null)?.includes(value) ? state : [...((state as unknown[]) ?? []), value];
      if (value === null || value === undefined) return state;
      if (name === 'count') return Number(state) + 1;
      if (name === 'sum') return Number(state ?? 0) + Number(value);
      if (state === null) return value;
      const difference = compare(value, state);
      return (name === 'min' ? difference < 0 : difference > 0) ? value : state;
    };
    aggregates.push({ index, start: () => (name === 'count' ? 0 : null), step });
    return { type, get: (run) => run.aggregates[index] };
  }

  private binary(operator: string, left: Typed, right: Typed): Typed {
    if (operator === 'and' || operator === 'or') {
      const decisive = operator === 'or';
      return {
        type: 'bool',
        get: (run) => {
          const a = left.get(run);
          if (a === decisive) return decisive;
          const b = right.get(run);
          if (b === decisive) return decisive;
          return a === null || b === null ? null : !decisive;
        },
      };
    }
    if (operator === '||') {
      return {
        type: 'text',
        get: (run) => {
          const a = left.get(run);
          const b = right.get(run);
          return a === null || b === null ? null : String(a) + String(b);
        },
      };
    }
    if (['+', '-', '*', '/', '%'].includes(operator)) return this.remembered(arithmetic(operator, left, right), left.fixed && right.fixed);
    const type = left.type === 'unknown' ? right.type : left.type;
    const a = left.type === 'unknown' && right.type !== 'unknown' ? this.converted(left, type) : left;
    const b = right.type === 'unknown' && left.type !== 'unknown' ? this.converted(right, type) : right;
    const test = comparison(operator);
    return {
      type: 'bool',
      get: (run) => {
        const x = a.get(run);
        const y = b.get(run);
        return x === null || y === null || x === undefined || y === undefined ? null : test(x, y);
      },
    };
  }

  private converted(of: Typed, type: string): Typed {
    return of.type === type ? of : this.remembered({ type, get: (run) => convert(of.get(run), type) }, of.fixed);
  }

  /** What is the same all through an execution is worked out once. */
  private remembered(of: Typed, fixed: boolean | undefined): Typed {
    if (!fixed) return of;
    const id = this.queries++;
    const get = (run: Run): unknown => {
      let value = run.cache.get(id);
      if (value === undefined) run.cache.set(id, (value = of.get(run)));
      return value;
    };
    return { type: of.type, get, fixed: true };
  }

  private table(name: string): Table {
    return this.tables.get(name) ?? this.refuse(`table ${name}`);
  }

  private column(table: Table, name: string): { type: string } {
    return table.columns.get(name) ?? this.refuse(`column ${table.name}.${name}`);
  }

  private refuse(what: string): never {
    throw new UnknownSqlError(`the model of PostgreSQL does not know ${what}; teach it in test/simulation/postgres-model: ${this.sql}`);
  }
}

function renamed(row: Values, from: CompiledQuery['columns'], to: CompiledQuery['columns']): Values {
  return Object.fromEntries(to.map(({ name }, index) => [name, row[(from[index] as { name: string }).name]]));
}

function outputOf(outputs: readonly (Typed & { name: string })[], run: Run): Values {
  const values: Values = {};
  for (const { name, get } of outputs) values[name] = get(run);
  return values;
}

/** The row that stands in the way of a new one, waiting for whoever is about to add or delete it. */
function conflicting(run: Run, table: Table, fresh: Values): Row | undefined {
  for (const { columns, rows } of table.indexes) {
    const key = keyOf(columns, fresh);
    for (const row of rows.get(key) ?? []) {
      const has = (values: Values | null | undefined): boolean => values !== null && values !== undefined && keyOf(columns, values) === key;
      if (row.lock === run.tx || row.pending === undefined) {
        if (has(row.latest())) return row;
      } else if (has(row.pending) || has(row.committed)) {
        run.storage.lock(run.tx, row);
      }
    }
  }
  return undefined;
}

function arithmetic(operator: string, left: Typed, right: Typed): Typed {
  const work: Record<string, (a: number, b: number) => number> = {
    '+': (a, b) => a + b,
    '-': (a, b) => a - b,
    '*': (a, b) => a * b,
    '/': (a, b) => (INTEGERS.has(left.type) && INTEGERS.has(right.type) ? Math.trunc(a / b) : a / b),
    '%': (a, b) => a % b,
  };
  const types = [left.type, right.type];
  const type =
    operator === '-' && left.type === 'timestamptz' && right.type === 'timestamptz'
      ? 'interval'
      : (['timestamptz', 'interval', 'float8', 'numeric', 'int8', 'int4', 'int2'].find((name) => types.includes(name)) ?? 'numeric');
  return { type, get: (run) => onNumbers(left.get(run), right.get(run), work[operator] as (a: number, b: number) => number) };
}

function onNumbers(a: unknown, b: unknown, work: (a: number, b: number) => number): number | null {
  return a === null || b === null || a === undefined || b === undefined ? null : work(Number(a), Number(b));
}

function comparison(operator: string): (a: unknown, b: unknown) => boolean {
  switch (operator) {
    case '=':
      return (a, b) => a === b || (typeof a === 'object' && compare(a, b) === 0);
    case '<>':
      return (a, b) => a !== b && (typeof a !== 'object' || compare(a, b) !== 0);
    case '<':
      return (a, b) => compare(a, b) < 0;
    case '<=':
      return (a, b) => compare(a, b) <= 0;
    case '>':
      return (a, b) => compare(a, b) > 0;
    default:
      return (a, b) => compare(a, b) >= 0;
  }
}

function negate(value: unknown): boolean | null {
  return value === null || value === undefined ? null : value !== true;
}

/** Null comes last, as in ORDER BY. */
export function compare(a: unknown, b: unknown): number {
  if (a === b) return 0;
  if (typeof a === 'number' && typeof b === 'number') return a < b ? -1 : 1;
  if (typeof a === 'string' && typeof b === 'string') return a < b ? -1 : 1;
  if (a === null || a === undefined) return 1;
  if (b === null || b === undefined) return -1;
  if (Array.isArray(a) && Array.isArray(b)) {
    for (let i = 0; i < a.length; i++) {
      const difference = compare(a[i], b[i]);
      if (difference !== 0) return difference;
    }
    return 0;
  }
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b);
  return (a as number) < (b as number) ? -1 : (a as number) > (b as number) ? 1 : 0;
}

function plain(value: unknown): unknown {
  if (Array.isArray(value) && typeof value[0] === 'bigint') return value.map(Number);
  if (typeof value === 'bigint') return Number(value);
  if (value instanceof Date) return value.getTime();
  return value === undefined ? null : value;
}

function convert(value: unknown, type: string): unknown {
  if (value === null || value === undefined) return null;
  if (type.endsWith('[]')) return elementsOf(value).map((element) => convert(element, type.slice(0, -2)));
  if (INTEGERS.has(type)) return typeof value === 'number' ? Math.round(value) : Number(value);
  if (type === 'timestamptz')
    return value instanceof Date ? value.getTime() : typeof value === 'string' ? Date.parse(value) : Number(value);
  if (type === 'bytea') return Buffer.isBuffer(value) ? value : Buffer.from(value as Uint8Array);
  if (type === 'text') return String(value);
  return plain(value);
}

/** A list, or an array of numbers written as PostgreSQL reads it. */
function elementsOf(value: unknown): readonly unknown[] {
  if (typeof value !== 'string') return value as readonly unknown[];
  if (!/^\{[\d,-]*\}$/.test(value)) throw new Error(`the model reads no array from ${value}`);
  return value === '{}' ? [] : value.slice(1, -1).split(',');
}
