import { describe, expect, it } from '@jest/globals';
import ts from 'typescript';
import { parse, placeOf, projectFiles, read, typescriptFiles, walkNodes } from './source-tree.js';

/** Who may touch what prisma/models/<owner>.prisma declares. src/ops shows an operator what messaging keeps. */
const HOMES: Readonly<Record<string, readonly string[]>> = {
  order: ['src/modules/order/'],
  inventory: ['src/modules/inventory/'],
  payment: ['src/modules/payment/'],
  notify: ['src/modules/notify/'],
  consumer: ['src/messaging/', 'src/ops/'],
  lane: ['src/messaging/'],
  outbox: ['src/messaging/'],
  'postgres-broker': ['src/messaging/transport/postgres/'],
};

/** Views that a module publishes for others to read. */
const PUBLISHED_VIEWS: Readonly<Record<string, string>> = { catalog_price: 'inventory' };

const SQL_TAGS = new Set(['sql', 'raw', '$queryRaw', '$executeRaw']);
const SQL = /\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|TRUNCATE|ALTER TABLE|LOCK TABLE|COPY)\b/;
const DELEGATE_METHODS =
  /^(findUnique|findUniqueOrThrow|findFirst|findFirstOrThrow|findMany|create|createMany|createManyAndReturn|update|updateMany|updateManyAndReturn|upsert|delete|deleteMany|count|aggregate|groupBy)$/;

interface Table {
  readonly owner: string;
  readonly model: string;
  readonly table: string;
}

describe('table ownership', () => {
  const tables = declaredTables();

  it('gives every table one owner, whose folder is known', () => {
    expect(tables.length).toBeGreaterThan(10);
    expect([...new Set(tables.map(({ owner }) => owner))].filter((owner) => !HOMES[owner])).toEqual([]);
    expect(tables.length).toBe(new Set(tables.map(({ table }) => table)).size);
  });

  it('has no relation from one owner to another', () => {
    const ownerOf = new Map(tables.map(({ model, owner }) => [model, owner]));
    for (const { owner, text } of modelFiles()) {
      for (const [, type = ''] of text.matchAll(/^\s+\w+\s+(\w+)(?:\?|\[\])?/gm)) {
        if (ownerOf.has(type)) expect({ type, owner: ownerOf.get(type) }).toEqual({ type, owner });
      }
    }
  });

  it('is kept by all code', () => {
    const files = typescriptFiles('src').filter((file) => !file.startsWith('src/database/generated/') && !file.endsWith('.spec.ts'));
    expect(files.length).toBeGreaterThan(50);
    expect(files.flatMap((file) => trespasses(file, read(file), tables))).toEqual([]);
  });

  it('is seen in the code of each module: the check finds its own tables there', () => {
    const everything = typescriptFiles('src').filter((file) => !file.startsWith('src/database/generated/'));
    const seen = new Set(everything.flatMap((file) => uses(file, read(file), tables)).map(({ table }) => table.owner));
    expect([...seen].sort()).toEqual(Object.keys(HOMES).sort());
  });

  it('lets the published views read what their owner has, and nothing else', () => {
    const migrations = projectFiles().filter((file) => file.startsWith('prisma/migrations/') && file.endsWith('.sql'));
    const created = migrations.flatMap((file) => [...read(file).matchAll(/CREATE (?:OR REPLACE )?VIEW "?(\w+)"? AS\b([^;]*);/gi)]);
    expect([...new Set(created.map(([, name]) => name))]).toEqual(Object.keys(PUBLISHED_VIEWS));
    for (const [, name = '', query = ''] of created) {
      const read = tables.filter(({ table }) => mentions(query, table));
      expect(read.length).toBeGreaterThan(0);
      expect(read.filter(({ owner }) => owner !== PUBLISHED_VIEWS[name])).toEqual([]);
    }
  });

  it.each([
    ['a delegate', 'src/modules/payment/x.ts', 'await tx.order.update({ where: { id }, data: {} });', 'orders'],
    ['a delegate of a property', 'src/modules/order/x.ts', 'return this.database.prisma.stockItem.findMany();', 'stock_item'],
    ['SQL in a tag', 'src/modules/payment/x.ts', 'await tx.$queryRaw`SELECT 1 FROM orders WHERE id = ${id}`;', 'orders'],
    ['a join', 'src/modules/notify/x.ts', 'await tx.$queryRaw`SELECT 1 FROM notification n, "orders" o`;', 'orders'],
    ['a fragment', 'src/modules/inventory/x.ts', 'const from = Prisma.sql`payment`;', 'payment'],
    ['SQL in a string', 'src/ops/x.ts', "await pool.query('DELETE FROM stock_item');", 'stock_item'],
    ['the outbox, from a module', 'src/modules/order/x.ts', 'await tx.$executeRaw`INSERT INTO outbox (lane) VALUES (1)`;', 'outbox'],
    ['the second of a list', 'src/modules/notify/x.ts', 'await tx.$queryRaw`SELECT 1 FROM notification n, payment WHERE true`;', 'payment'],
    ['a qualified name', 'src/modules/notify/x.ts', 'await tx.$executeRaw`UPDATE public.payment SET status = ${status}`;', 'payment'],
    ['a subquery', 'src/modules/notify/x.ts', 'await tx.$queryRaw`SELECT (SELECT count(*) FROM payment), 1`;', 'payment'],
    ['the inbox, from a module', 'src/modules/order/x.ts', 'await tx.inbox.deleteMany();', 'inbox'],
    ['a module, from messaging', 'src/messaging/consumer/x.ts', 'await tx.$executeRaw`UPDATE orders SET status = 1`;', 'orders'],
  ])('catches a planted violation: %s', (_what, file, text, table) => {
    expect(trespasses(file, text, tables)).toEqual([expect.stringContaining(`${file}:1 touches ${table}`)]);
  });

  it.each([
    [
      'its own table',
      'src/modules/order/x.ts',
      'await tx.$queryRaw`SELECT 1 FROM orders JOIN order_item ON true`; await tx.orderItem.count();',
    ],
    ['the published view', 'src/modules/order/x.ts', 'await tx.$queryRaw`SELECT price FROM catalog_price`;'],
    ['a method that is called like a table', 'src/modules/payment/x.ts', 'this.order.find(id); order.items.map((item) => item.sku);'],
    [
      'a column that is called like a table',
      'src/modules/payment/x.ts',
      'await tx.$executeRaw`INSERT INTO payment_guard (order_id, idempotency_key) SELECT a, idempotency_key FROM payment`;',
    ],
    ['prose', 'src/modules/payment/x.ts', "throw new Error('the payment of these orders was declined');"],
  ])('allows %s', (_what, file, text) => {
    expect(trespasses(file, text, tables)).toEqual([]);
  });
});

function modelFiles(): { owner: string; text: string }[] {
  return projectFiles()
    .filter((file) => /^prisma\/models\/[\w-]+\.prisma$/.test(file))
    .map((file) => ({ owner: file.slice('prisma/models/'.length, -'.prisma'.length), text: read(file) }));
}

function declaredTables(): Table[] {
  return modelFiles().flatMap(({ owner, text }) =>
    [...text.matchAll(/^model (\w+) \{([^}]*)^\}/gm)].map(([, model = '', body = '']) => ({
      owner,
      model,
      table: /@@map\("(\w+)"\)/.exec(body)?.[1] ?? model,
    })),
  );
}

/** Each use of a table that is not the file's own, as `file:line touches table of owner`. */
function trespasses(file: string, text: string, tables: readonly Table[]): string[] {
  return uses(file, text, tables)
    .filter(({ table }) => !HOMES[table.owner]?.some((home) => file.startsWith(home)))
    .map(({ place, table }) => `${place} touches ${table.table}, which is ${table.owner}'s`);
}

function uses(file: string, text: string, tables: readonly Table[]): { place: string; table: Table }[] {
  const found: { place: string; table: Table }[] = [];
  walkNodes(parse(file, text), (node) => {
    const delegate = delegateOf(node);
    const sql = sqlOf(node);
    for (const table of tables) {
      if (delegate === delegateName(table.model) || (sql !== undefined && mentions(sql, table.table)))
        found.push({ place: placeOf(node), table });
    }
  });
  return found;
}

/** `order` of `<anything>.order.findMany(`. */
function delegateOf(node: ts.Node): string | undefined {
  if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return undefined;
  const { expression, name } = node.expression;
  return DELEGATE_METHODS.test(name.text) && ts.isPropertyAccessExpression(expression) ? expression.name.text : undefined;
}

/** The text of a literal that is SQL, the parts of a template joined. */
function sqlOf(node: ts.Node): string | undefined {
  if (ts.isTemplateLiteral(node) || ts.isStringLiteral(node)) {
    const text = ts.isTemplateExpression(node)
      ? [node.head.text, ...node.templateSpans.map(({ literal }) => literal.text)].join(' … ')
      : node.text;
    const tag = ts.isTaggedTemplateExpression(node.parent) ? lastName(node.parent.tag) : undefined;
    return SQL.test(text) || (tag !== undefined && SQL_TAGS.has(tag)) ? text : undefined;
  }
  return undefined;
}

function lastName(expression: ts.Expression): string | undefined {
  if (ts.isIdentifier(expression)) return expression.text;
  return ts.isPropertyAccessExpression(expression) ? expression.name.text : undefined;
}

/** Whether the SQL reads or writes the table; a column, an alias or a value may be called the same. */
function mentions(sql: string, table: string): boolean {
  return relationsIn(sql).has(table);
}

/** What stands where SQL has a relation, and what qualifies a column; a text of one name is taken for a relation. */
function relationsIn(sql: string): Set<string> {
  const tokens =
    sql
      .replace(/--.*$/gm, ' ')
      .replace(/'[^']*'/g, ' … ')
      .match(/"[^"]+"|[A-Za-z_$][\w$]*|[(),.…]/g) ?? [];
  const names = tokens.map((token) => token.replaceAll('"', ''));
  if (names.length === 1) return new Set(names);
  const found = new Set<string>();
  let scope = { list: false, expected: false };
  const outer: (typeof scope)[] = [];
  for (const [index, name] of names.entries()) {
    if (name === '(') {
      outer.push({ ...scope, expected: false });
      scope = { ...scope };
    } else if (name === ')') scope = outer.pop() ?? scope;
    else if (name === ',') scope.expected = scope.list;
    else if (/^(FROM|USING|JOIN)$/i.test(name)) scope = { list: true, expected: true };
    else if (/^(INTO|UPDATE|TABLE|TRUNCATE|COPY)$/i.test(name)) scope = { list: false, expected: true };
    else if (/^(WHERE|GROUP|ORDER|LIMIT|SET|ON|RETURNING|HAVING|UNION|SELECT|VALUES|WINDOW|FOR)$/i.test(name))
      scope = { list: false, expected: false };
    else if (/^\w/.test(name) && !/^(ONLY|LATERAL|IF|EXISTS)$/i.test(name)) {
      if (scope.expected || names[index + 1] === '.') found.add(name);
      if (names[index + 1] !== '.') scope.expected = false;
    } else if (name === '…') scope.expected = false;
  }
  return found;
}

function delegateName(model: string): string {
  return model.charAt(0).toLowerCase() + model.slice(1);
}
