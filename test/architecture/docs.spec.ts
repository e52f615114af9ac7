import { describe, expect, it } from '@jest/globals';
import { existsSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { Metrics } from '../../src/observability/metrics.js';
import { parse, projectFiles, read, ROOT, typescriptFiles, walkNodes } from './source-tree.js';

const PAGES = projectFiles().filter((file) => file.endsWith('.md'));

describe('the README', () => {
  const readme = read('README.md');

  it('is short', () => {
    expect(readme.split('\n').length).toBeLessThanOrEqual(150);
  });

  it('names tests that exist, for every promise', () => {
    const [, table = ''] = /<!-- promises -->([^]*)<!-- \/promises -->/.exec(readme) ?? [];
    const rows = table.split('\n').filter((line) => line.startsWith('| ') && !/^\| (promise|-+) /.test(line));
    expect(rows).toHaveLength(6);
    for (const row of rows) {
      const proofs = row.split('|')[2]?.split(' · ') ?? [];
      for (const proof of proofs) {
        const files = [...proof.matchAll(/\]\(([^)]+)\)/g)].map(([, file = '']) => file);
        const named = [...proof.matchAll(/"([^"]+)"/g)].map(([, name = '']) => name);
        expect(files.length).toBeGreaterThan(0);
        const existing = files.flatMap(namesOfTests);
        expect(named.filter((name) => !existing.includes(name))).toEqual([]);
        if (named.length === 0) for (const file of files) expect(read(file)).toMatch(/Suite\('\w+'\)/);
      }
    }
  });
});

describe('the pages', () => {
  it('link to what exists', () => {
    expect(PAGES.length).toBeGreaterThan(15);
    const broken = PAGES.flatMap((page) => {
      const links = [...read(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)];
      return links.flatMap(([, target = '', anchor]) => {
        const file = target === '' ? page : path.posix.join(path.posix.dirname(page), target);
        if (!existsSync(path.join(ROOT, file))) return [`${page} → ${target}`];
        return anchor === undefined || anchorsOf(file).includes(anchor) ? [] : [`${page} → ${target}#${anchor}`];
      });
    });
    expect(broken).toEqual([]);
  });

  it('name files of the project that exist', () => {
    const missing = PAGES.flatMap((page) =>
      [...read(page).matchAll(/`((?:src|test|scripts|prisma|docker|docs)\/[\w./-]+)`/g)]
        .map(([, file = '']) => file)
        .filter((file) => !existsSync(path.join(ROOT, file)))
        .map((file) => `${page}: ${file}`),
    );
    expect(missing).toEqual([]);
  });
});

describe('the decisions', () => {
  const decisions = PAGES.filter((page) => page.startsWith('docs/adr/'));

  it('are numbered without a gap, and listed', () => {
    const numbers = decisions.map((page) => Number(/^docs\/adr\/(\d{4})-[a-z0-9-]+\.md$/.exec(page)?.[1]));
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
    const list = read('docs/architecture.md');
    for (const page of decisions) expect(list).toContain(page.slice('docs/'.length));
  });

  it.each(decisions)('%s has its parts, on one page', (page) => {
    const text = read(page);
    expect([...text.matchAll(/^## (\w+)$/gm)].map(([, title]) => title)).toEqual([
      'Status',
      'Context',
      'Options',
      'Decision',
      'Consequences',
    ]);
    expect(text.startsWith(`# ${Number(page.slice('docs/adr/'.length, 'docs/adr/0000'.length))}. `)).toBe(true);
    expect(text.split(/\s+/).length).toBeLessThan(500);
  });
});

describe('docs/operations.md', () => {
  const page = read('docs/operations.md');

  it('has every metric, with its labels, and no other', () => {
    const [, table = ''] = /<!-- metrics -->([^]*)<!-- \/metrics -->/.exec(page) ?? [];
    const described = [...table.matchAll(/^\| `(waybill_\w+)` +\| ([^|]*) \|/gm)].map(
      ([, name = '', labels = '']) => [name, labels.match(/\w+/g) ?? []] as const,
    );
    const { registry } = new Metrics();
    const measured = registry
      .getMetricsAsArray()
      .filter(({ name }) => name.startsWith('waybill_'))
      .map(
        (metric) => [metric.name, (metric as unknown as { labelNames: string[] }).labelNames.filter((label) => label !== 'le')] as const,
      );
    expect(measured.length).toBeGreaterThan(10);
    expect(sorted(described)).toEqual(sorted(measured));
  });

  it('shows every operator route', () => {
    const routes = [...read('src/ops/ops.controller.ts').matchAll(/@(?:Get|Post)\('([^']+)'\)/g)].map(([, route = '']) => route);
    expect(routes.length).toBeGreaterThan(8);
    for (const route of routes) expect(page).toMatch(new RegExp(`ops '?${route.replaceAll(/:\w+/g, '[\\w$]+').replaceAll('/', '\\/')}`));
  });

  it('quotes in each entry of the runbook what the application prints', () => {
    const source = typescriptFiles('src').map(read).join('\n');
    const entries = page.slice(page.indexOf('## Runbook')).split('\n### ').slice(1);
    expect(entries.length).toBeGreaterThan(7);
    const wrong = entries.flatMap((entry) => {
      const [title = ''] = entry.split('\n');
      const quotes = [...(/^Prints .*$/m.exec(entry)?.[0] ?? '').matchAll(/`([^`]*)`/g)]
        .map(([, quote = '']) => quote.replace(/…$/, ''))
        .filter((quote) => quote.includes(' '));
      if (quotes.length === 0) return [`${title} quotes nothing`];
      return quotes.filter((quote) => !source.includes(quote)).map((quote) => `${title}: ${quote}`);
    });
    expect(wrong).toEqual([]);
  });

  it('has an entry for every alert', () => {
    const alerts = [...read('docker/prometheus-alerts.yml').matchAll(/alert: (\w+)/g)].map(([, name = '']) => name);
    expect(alerts.length).toBeGreaterThan(3);
    for (const alert of alerts) expect(page).toContain(`\`${alert}\``);
  });
});

/** The names of a file's tests, as far as they are written out. */
function namesOfTests(file: string): string[] {
  const names: string[] = [];
  walkNodes(parse(file, read(file)), (node) => {
    if (!ts.isCallExpression(node) || !/^it\b/.test(node.expression.getText())) return;
    const [name] = node.arguments;
    if (name && ts.isStringLiteralLike(name)) names.push(name.text);
  });
  return names;
}

/** Headings as GitHub links to them. */
function anchorsOf(file: string): string[] {
  return [...read(file).matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
}

function sorted(rows: readonly (readonly [string, readonly string[]])[]): Record<string, readonly string[]> {
  return Object.fromEntries(rows.map(([name, labels]) => [name, [...labels].sort()]));
}
