/** The SQL that messaging speaks, read into a tree. What is not in here is refused by name. */

export type Expression =
  | { readonly kind: 'literal'; readonly value: string | number | boolean | null }
  | { readonly kind: 'interval'; readonly ms: number }
  | { readonly kind: 'parameter'; readonly index: number }
  | { readonly kind: 'column'; readonly table: string | undefined; readonly name: string }
  | { readonly kind: 'cast'; readonly of: Expression; readonly type: string }
  | { readonly kind: 'binary'; readonly operator: string; readonly left: Expression; readonly right: Expression }
  | { readonly kind: 'not'; readonly of: Expression }
  | { readonly kind: 'isNull'; readonly of: Expression; readonly negated: boolean }
  | { readonly kind: 'quantified'; readonly operator: string; readonly all: boolean; readonly left: Expression; readonly array: Expression }
  | {
      readonly kind: 'in';
      readonly left: Expression;
      readonly negated: boolean;
      readonly query: Query | undefined;
      readonly list: Expression[];
    }
  | { readonly kind: 'row'; readonly of: Expression[] }
  | { readonly kind: 'exists'; readonly query: Query }
  | { readonly kind: 'scalar'; readonly query: Query }
  | {
      readonly kind: 'case';
      readonly branches: { readonly when: Expression; readonly value: Expression }[];
      readonly otherwise: Expression;
    }
  | { readonly kind: 'call'; readonly name: string; readonly of: Expression[]; readonly distinct: boolean };

export interface Output {
  /** undefined: every column of `table`, or of all tables. */
  readonly of: Expression | undefined;
  readonly table: string | undefined;
  readonly name: string;
}

export interface Source {
  readonly kind: 'table' | 'function' | 'query';
  readonly name: string;
  readonly alias: string;
  readonly columns: string[];
  readonly of: Expression[];
  readonly ordinality: boolean;
  readonly query: Query | undefined;
  readonly on: Expression | undefined;
}

export interface Query {
  readonly kind: 'select';
  readonly outputs: Output[];
  readonly distinct: boolean;
  readonly from: Source[];
  readonly where: Expression | undefined;
  readonly union: Query | undefined;
  readonly order: { readonly of: Expression; readonly descending: boolean }[];
  readonly limit: Expression | undefined;
  readonly lock: 'wait' | 'skip' | undefined;
}

export interface Insert {
  readonly kind: 'insert';
  readonly table: string;
  readonly columns: string[];
  readonly values: Expression[][] | undefined;
  readonly query: Query | undefined;
  readonly conflict: 'fail' | 'nothing' | { readonly set: Assignment[] };
  readonly returning: Output[];
}

export interface Assignment {
  readonly column: string;
  readonly value: Expression;
}

export interface Update {
  readonly kind: 'update';
  readonly table: string;
  readonly alias: string;
  readonly set: Assignment[];
  readonly from: Source[];
  readonly where: Expression | undefined;
  readonly returning: Output[];
}

export interface Delete {
  readonly kind: 'delete';
  readonly table: string;
  readonly alias: string;
  readonly from: Source[];
  readonly where: Expression | undefined;
  readonly returning: Output[];
}

export interface Statement {
  readonly with: { readonly name: string; readonly statement: Statement }[];
  readonly body: Query | Insert | Update | Delete;
}

/** A statement holds what this reader does not know. */
export class UnknownSqlError extends Error {
  override readonly name = 'UnknownSqlError';
}

const TOKEN =
  /\s+|--[^\n]*|(\$\d+)|('(?:[^']|'')*')|("[^"]+")|(\d+(?:\.\d+)?)|([A-Za-z_][A-Za-z0-9_]*)|(::|<>|<=|>=|!=|\|\||[()[\],.=<>+\-*/%;])/y;
const STOPS = new Set(
  'from where order limit for union on join cross inner left group having returning set using as with values select when then else end and or not is in asc desc into do skip conflict between'.split(
    ' ',
  ),
);
const INTERVALS: Readonly<Record<string, number>> = { ms: 1, second: 1000, minute: 60_000, hour: 3_600_000, day: 86_400_000 };

interface Token {
  readonly kind: 'parameter' | 'text' | 'quoted' | 'number' | 'word' | 'sign' | 'end';
  readonly text: string;
}

export function parse(sql: string): Statement {
  return new Reader(sql).statement();
}

class Reader {
  private readonly tokens: Token[] = [];
  private at = 0;

  constructor(private readonly sql: string) {
    TOKEN.lastIndex = 0;
    while (TOKEN.lastIndex < sql.length) {
      const from = TOKEN.lastIndex;
      const match = TOKEN.exec(sql);
      if (!match) throw new UnknownSqlError(`cannot read ${JSON.stringify(sql.slice(from, from + 30))} in: ${sql}`);
      const kinds = ['parameter', 'text', 'quoted', 'number', 'word', 'sign'] as const;
      const index = match.slice(1).findIndex((part) => part !== undefined);
      if (index >= 0) this.tokens.push({ kind: kinds[index] as Token['kind'], text: match[index + 1] as string });
    }
  }

  statement(): Statement {
    const statement = this.inner();
    this.take(';');
    if (this.at < this.tokens.length) this.refuse();
    return statement;
  }

  private inner(): Statement {
    const parts: { name: string; statement: Statement }[] = [];
    if (this.take('with')) {
      do {
        const name = this.word();
        this.need('as');
        if (this.take('not')) this.need('materialized');
        else this.take('materialized');
        this.need('(');
        parts.push({ name, statement: this.inner() });
        this.need(')');
      } while (this.take(','));
    }
    if (this.is('select')) return { with: parts, body: this.query() };
    if (this.take('insert')) return { with: parts, body: this.insert() };
    if (this.take('update')) return { with: parts, body: this.update() };
    if (this.take('delete')) return { with: parts, body: this.delete() };
    return this.refuse();
  }

  private query(): Query {
    this.need('select');
    const distinct = this.take('distinct');
    const outputs = this.outputs();
    const from = this.take('from') ? this.sources() : [];
    const where = this.take('where') ? this.expression() : undefined;
    let union: Query | undefined;
    if (this.take('union')) {
      this.need('all');
      union = this.query();
    }
    const order: { of: Expression; descending: boolean }[] = [];
    if (this.take('order')) {
      this.need('by');
      do order.push({ of: this.expression(), descending: this.take('desc') || (this.take('asc') && false) });
      while (this.take(','));
    }
    const limit = this.take('limit') ? this.expression() : undefined;
    let lock: Query['lock'];
    if (this.take('for')) {
      this.need('update');
      lock = 'wait';
      if (this.take('skip')) {
        this.need('locked');
        lock = 'skip';
      }
    }
    return { kind: 'select', outputs, distinct, from, where, union, order, limit, lock };
  }

  private insert(): Insert {
    this.need('into');
    const table = this.word();
    this.need('(');
    const columns = this.words();
    this.need(')');
    let values: Expression[][] | undefined;
    let query: Query | undefined;
    if (this.take('values')) {
      values = [];
      do {
        this.need('(');
        values.push(this.expressions());
        this.need(')');
      } while (this.take(','));
    } else query = this.query();
    let conflict: Insert['conflict'] = 'fail';
    if (this.take('on')) {
      this.need('conflict');
      if (this.take('(')) {
        this.words();
        this.need(')');
      }
      this.need('do');
      if (this.take('nothing')) conflict = 'nothing';
      else {
        this.need('update');
        conflict = { set: this.assignments() };
      }
    }
    return { kind: 'insert', table, columns, values, query, conflict, returning: this.returning() };
  }

  private update(): Update {
    const table = this.word();
    const alias = this.alias(table);
    const set = this.assignments();
    const from = this.take('from') ? this.sources() : [];
    const where = this.take('where') ? this.expression() : undefined;
    return { kind: 'update', table, alias, set, from, where, returning: this.returning() };
  }

  private delete(): Delete {
    this.need('from');
    const table = this.word();
    const alias = this.alias(table);
    const from = this.take('using') ? this.sources() : [];
    const where = this.take('where') ? this.expression() : undefined;
    return { kind: 'delete', table, alias, from, where, returning: this.returning() };
  }

  private assignments(): Assignment[] {
    this.need('set');
    const set: Assignment[] = [];
    do {
      const column = this.word();
      this.need('=');
      set.push({ column, value: this.expression() });
    } while (this.take(','));
    return set;
  }

  private returning(): Output[] {
    return this.take('returning') ? this.outputs() : [];
  }

  private outputs(): Output[] {
    const outputs: Output[] = [];
    do {
      if (this.take('*')) {
        outputs.push({ of: undefined, table: undefined, name: '*' });
        continue;
      }
      if (this.peek(1).text === '.' && this.peek(2).text === '*') {
        const table = this.word();
        this.at += 2;
        outputs.push({ of: undefined, table, name: '*' });
        continue;
      }
      const of = this.expression();
      const token = this.peek();
      const named = this.take('as') || token.kind === 'quoted' || (token.kind === 'word' && !STOPS.has(token.text.toLowerCase()));
      outputs.push({ of, table: undefined, name: named ? this.word() : nameOf(of) });
    } while (this.take(','));
    return outputs;
  }

  private sources(): Source[] {
    const sources = [this.source(undefined)];
    for (;;) {
      if (this.take(',')) sources.push(this.source(undefined));
      else if (this.take('cross')) {
        this.need('join');
        sources.push(this.source(undefined));
      } else if (this.is('join') || this.is('inner')) {
        this.take('inner');
        this.need('join');
        const source = this.source(undefined);
        this.need('on');
        sources.push({ ...source, on: this.expression() });
      } else return sources;
    }
  }

  private source(on: Expression | undefined): Source {
    this.take('lateral');
    if (this.take('(')) {
      const query = this.query();
      this.need(')');
      const alias = this.alias('');
      return { kind: 'query', name: '', alias, columns: this.columns(), of: [], ordinality: false, query, on };
    }
    const name = this.word();
    if (this.take('(')) {
      const of = this.expressions();
      this.need(')');
      let ordinality = false;
      if (this.take('with')) {
        this.need('ordinality');
        ordinality = true;
      }
      const alias = this.alias(name);
      return { kind: 'function', name: name.toLowerCase(), alias, columns: this.columns(), of, ordinality, query: undefined, on };
    }
    return { kind: 'table', name, alias: this.alias(name), columns: [], of: [], ordinality: false, query: undefined, on };
  }

  private alias(otherwise: string): string {
    if (this.take('as')) return this.word();
    const token = this.peek();
    return token.kind === 'word' && !STOPS.has(token.text.toLowerCase()) ? this.word() : otherwise;
  }

  private columns(): string[] {
    if (!this.take('(')) return [];
    const columns = this.words();
    this.need(')');
    return columns;
  }

  private words(): string[] {
    const words = [this.word()];
    while (this.take(',')) words.push(this.word());
    return words;
  }

  private expressions(): Expression[] {
    if (this.is(')')) return [];
    const list = [this.expression()];
    while (this.take(',')) list.push(this.expression());
    return list;
  }

  private expression(): Expression {
    let left = this.conjunction();
    while (this.take('or')) left = { kind: 'binary', operator: 'or', left, right: this.conjunction() };
    return left;
  }

  private conjunction(): Expression {
    let left = this.negation();
    while (this.take('and')) left = { kind: 'binary', operator: 'and', left, right: this.negation() };
    return left;
  }

  private negation(): Expression {
    return this.take('not') ? { kind: 'not', of: this.negation() } : this.comparison();
  }

  private comparison(): Expression {
    const left = this.concatenation();
    if (this.take('is')) {
      const negated = this.take('not');
      if (this.take('null')) return { kind: 'isNull', of: left, negated };
      return this.refuse();
    }
    if (this.take('between')) {
      const low = this.concatenation();
      this.need('and');
      const high = this.concatenation();
      return {
        kind: 'binary',
        operator: 'and',
        left: { kind: 'binary', operator: '>=', left, right: low },
        right: { kind: 'binary', operator: '<=', left, right: high },
      };
    }
    const negated = this.is('not') && this.peek(1).text.toLowerCase() === 'in' && this.take('not');
    if (this.take('in')) {
      this.need('(');
      const query = this.is('select') ? this.query() : undefined;
      const list = query ? [] : this.expressions();
      this.need(')');
      return { kind: 'in', left, negated, query, list };
    }
    const operator = ['=', '<>', '!=', '<=', '>=', '<', '>'].find((sign) => this.take(sign));
    if (operator === undefined) return left;
    const sign = operator === '!=' ? '<>' : operator;
    for (const [word, all] of [
      ['any', false],
      ['all', true],
    ] as const) {
      if (!this.take(word)) continue;
      this.need('(');
      const array = this.expression();
      this.need(')');
      return { kind: 'quantified', operator: sign, all, left, array };
    }
    return { kind: 'binary', operator: sign, left, right: this.concatenation() };
  }

  private concatenation(): Expression {
    let left = this.sum();
    while (this.take('||')) left = { kind: 'binary', operator: '||', left, right: this.sum() };
    return left;
  }

  private sum(): Expression {
    let left = this.product();
    for (;;) {
      const operator = ['+', '-'].find((sign) => this.take(sign));
      if (operator === undefined) return left;
      left = { kind: 'binary', operator, left, right: this.product() };
    }
  }

  private product(): Expression {
    let left = this.cast();
    for (;;) {
      const operator = ['*', '/', '%'].find((sign) => this.take(sign));
      if (operator === undefined) return left;
      left = { kind: 'binary', operator, left, right: this.cast() };
    }
  }

  private cast(): Expression {
    let of = this.primary();
    while (this.take('::')) {
      let type = this.word().toLowerCase();
      if (this.take('[')) {
        this.need(']');
        type += '[]';
      }
      of = { kind: 'cast', of, type };
    }
    return of;
  }

  private primary(): Expression {
    const token = this.peek();
    this.at++;
    if (token.kind === 'parameter') return { kind: 'parameter', index: Number(token.text.slice(1)) - 1 };
    if (token.kind === 'number') return { kind: 'literal', value: Number(token.text) };
    if (token.kind === 'text') return { kind: 'literal', value: token.text.slice(1, -1).replaceAll("''", "'") };
    if (token.text === '(') {
      if (this.is('select')) {
        const query = this.query();
        this.need(')');
        return { kind: 'scalar', query };
      }
      const list = this.expressions();
      this.need(')');
      return list.length === 1 ? (list[0] as Expression) : { kind: 'row', of: list };
    }
    if (token.kind !== 'word' && token.kind !== 'quoted') return this.refuse(token);
    const word = token.text.toLowerCase();
    if (token.kind === 'word') {
      if (word === 'true' || word === 'false') return { kind: 'literal', value: word === 'true' };
      if (word === 'null') return { kind: 'literal', value: null };
      if (word === 'case') return this.cases();
      if (word === 'exists' && this.take('(')) {
        const query = this.query();
        this.need(')');
        return { kind: 'exists', query };
      }
      if (word === 'interval' && this.peek().kind === 'text') {
        const [, amount, unit = ''] = /^'(\d+) (\w+)'$/.exec(this.peek().text) ?? [];
        const ms = INTERVALS[unit] ?? INTERVALS[unit.replace(/s$/, '')];
        if (ms === undefined) return this.refuse();
        this.at++;
        return { kind: 'interval', ms: Number(amount) * ms };
      }
      if (this.take('(')) return this.call(word);
      if (STOPS.has(word)) return this.refuse(token);
    }
    const name = nameIn(token);
    return this.take('.') ? { kind: 'column', table: name, name: this.word() } : { kind: 'column', table: undefined, name };
  }

  private call(name: string): Expression {
    if (name === 'extract') {
      if (this.word().toLowerCase() !== 'epoch') return this.refuse();
      this.need('from');
      const of = this.expression();
      this.need(')');
      return { kind: 'call', name, of: [of], distinct: false };
    }
    if (this.take('*')) {
      this.need(')');
      return { kind: 'call', name, of: [], distinct: false };
    }
    const distinct = this.take('distinct');
    const of = this.expressions();
    this.need(')');
    return { kind: 'call', name, of, distinct };
  }

  private cases(): Expression {
    const branches: { when: Expression; value: Expression }[] = [];
    while (this.take('when')) {
      const when = this.expression();
      this.need('then');
      branches.push({ when, value: this.expression() });
    }
    const otherwise: Expression = this.take('else') ? this.expression() : { kind: 'literal', value: null };
    this.need('end');
    return { kind: 'case', branches, otherwise };
  }

  private peek(ahead = 0): Token {
    return this.tokens[this.at + ahead] ?? { kind: 'end', text: '' };
  }

  private is(text: string): boolean {
    const token = this.peek();
    return (token.kind === 'word' || token.kind === 'sign') && token.text.toLowerCase() === text;
  }

  private take(text: string): boolean {
    const found = this.is(text);
    if (found) this.at++;
    return found;
  }

  private need(text: string): void {
    if (!this.take(text)) this.refuse();
  }

  private word(): string {
    const token = this.peek();
    if (token.kind !== 'word' && token.kind !== 'quoted') this.refuse();
    this.at++;
    return nameIn(token);
  }

  private refuse(token = this.peek()): never {
    throw new UnknownSqlError(
      `the model of PostgreSQL does not know ${JSON.stringify(token.text || 'the end')} (token ${this.at}); teach it in test/simulation/postgres-model: ${this.sql}`,
    );
  }
}

function nameIn(token: Token): string {
  return token.kind === 'quoted' ? token.text.slice(1, -1) : token.text.toLowerCase();
}

function nameOf(expression: Expression): string {
  if (expression.kind === 'column') return expression.name;
  if (expression.kind === 'call') return expression.name;
  if (expression.kind === 'cast') return nameOf(expression.of) === '?column?' ? expression.type : nameOf(expression.of);
  return '?column?';
}
