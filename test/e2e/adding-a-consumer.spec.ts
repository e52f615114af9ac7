import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { format, resolveConfig } from 'prettier';
import { freePort } from '../../scripts/lib/ports.mjs';
import { projectFiles, read, ROOT } from '../architecture/source-tree.js';
import { stopServers } from '../support/brokers-under-test.js';
import { eventually } from '../support/eventually.js';
import { freshDatabase, type FreshDatabase } from '../support/fresh-database.js';

jest.setTimeout(300_000);

/** A fenced block of the page: "```ts file=src/x.ts". */
interface Block {
  readonly language: string;
  readonly file: string | undefined;
  readonly text: string;
}

describe('docs/adding-a-consumer.md, done step by step in a copy of the project', () => {
  const blocks = blocksOf(read('docs/adding-a-consumer.md'));
  const run = promisify(execFile);
  let copy: string;
  let database: FreshDatabase;
  let app: ChildProcess | undefined;

  beforeAll(async () => {
    copy = mkdtempSync(path.join(tmpdir(), 'waybill-page-'));
    for (const file of projectFiles()) {
      mkdirSync(path.dirname(path.join(copy, file)), { recursive: true });
      cpSync(path.join(ROOT, file), path.join(copy, file));
    }
    symlinkSync(path.join(ROOT, 'node_modules'), path.join(copy, 'node_modules'), 'junction');
    database = await freshDatabase();
  });
  afterAll(async () => {
    if (app && app.exitCode === null) {
      const ended = new Promise((resolve) => app?.once('exit', resolve));
      app.kill('SIGTERM');
      await ended;
    }
    await database?.drop();
    await stopServers();
    rmSync(copy, { recursive: true, force: true });
  });

  it('has one new file, one edit, and one request', () => {
    const steps = blocks.filter(({ file }) => file !== undefined);
    expect(steps.map(({ language, file }) => `${language} ${file}`)).toEqual([
      expect.stringMatching(/^ts src\/modules\/\w+\/consumers\/[a-z-]+-when-[a-z-]+\.consumer\.ts$/),
      expect.stringMatching(/^diff src\/modules\/\w+\/\w+\.module\.ts$/),
    ]);
    expect(read('docs/adding-a-consumer.md').match(/^## Step \d/gm)).toHaveLength(3);
  });

  it('makes code that is formatted as the rest, passes the compiler, and builds', async () => {
    const options = await resolveConfig(path.join(ROOT, 'package.json'));
    for (const { language, file, text } of blocks) {
      if (file === undefined) continue;
      const target = path.join(copy, file);
      if (language === 'diff') {
        writeFileSync(target, applied(readFileSync(target, 'utf8'), text, file));
        continue;
      }
      expect(existsSync(target)).toBe(false);
      expect(await format(text, { ...options, parser: 'typescript' })).toBe(text);
      mkdirSync(path.dirname(target), { recursive: true });
      writeFileSync(target, text);
    }
    await run(process.execPath, ['scripts/build.mjs'], { cwd: copy });
    expect(existsSync(path.join(copy, 'dist/main.js'))).toBe(true);
    const compiled = run(process.execPath, ['node_modules/typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.build.json'], { cwd: copy });
    await expect(compiled).resolves.toMatchObject({ stdout: '' });
  });

  it('has the effect that the page says', async () => {
    const port = await freePort();
    let output = '';
    app = spawn(process.execPath, ['--enable-source-maps', 'dist/main.js'], {
      cwd: copy,
      env: {
        PATH: process.env['PATH'],
        NODE_ENV: 'development',
        DATABASE_URL: database.url,
        BROKER: 'postgres',
        PORT: String(port),
        LOG_FORMAT: 'json',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [app.stdout, app.stderr]) stream?.setEncoding('utf8').on('data', (text: string) => (output += text));
    const call = async (address: string, body?: string): Promise<{ status: number; body: unknown }> => {
      const response = await fetch(address.replace('http://127.0.0.1:3000', `http://127.0.0.1:${port}`), {
        ...(body !== undefined && { method: 'POST', headers: { 'content-type': 'application/json' }, body }),
        signal: AbortSignal.timeout(10_000),
      });
      return { status: response.status, body: await response.json() };
    };
    try {
      await eventually(async () => expect(await call('http://127.0.0.1:3000/health/ready')).toMatchObject({ status: 200 }), {
        timeoutMs: 60_000,
      });
      const { order, list, kind } = commandsOf(blocks);
      const placed = await call(order.address, order.body);
      expect(placed.status).toBe(202);
      const { id } = placed.body as { id: string };
      await eventually(async () => {
        const { body } = await call(list.replace('$ORDER_ID', id));
        expect((body as { items: readonly { kind: string }[] }).items.map((item) => item.kind)).toContain(kind);
      });
    } catch (cause) {
      throw new Error(`the application said:\n${output.slice(-4000)}`, { cause });
    }
  });
});

describe('a diff of the page', () => {
  it('is applied where it says, and only there', () => {
    expect(applied('a\nb\nc\n', '@@\n a\n+x\n@@\n b\n-c\n+d\n', 'f')).toBe('a\nx\nb\nd\n');
    expect(() => applied('a\n', '@@\n b\n+x\n', 'f')).toThrow('f does not have');
    expect(() => applied('a\na\n', '@@\n a\n+x\n', 'f')).toThrow('f has more than once');
  });
});

function blocksOf(page: string): Block[] {
  return [...page.matchAll(/^```(\w+)(?: file=(\S+))?\n([^]*?)^```$/gm)].map(([, language = '', file, text = '']) => ({
    language,
    file,
    text,
  }));
}

/** The two requests of the page's last step, and what the second one is to show. */
function commandsOf(blocks: readonly Block[]): { order: { address: string; body: string }; list: string; kind: string } {
  const shell = blocks.filter(({ language }) => language === 'sh').map(({ text }) => text);
  const [, address = '', body = ''] = shell.map((text) => /^curl -sS (\S+) .*-d '([^']+)'/.exec(text)).find((match) => match) ?? [];
  const [, list = ''] = shell.map((text) => /^curl -sS "(\S+\$ORDER_ID)"/.exec(text)).find((match) => match) ?? [];
  const [, kind = ''] = /of kind `(\w+)`/.exec(read('docs/adding-a-consumer.md')) ?? [];
  expect([address, body, list, kind]).not.toContain('');
  return { order: { address, body }, list, kind };
}

/** The text with each hunk carried out: its lines with ' ' or '-' must be there exactly once, and become those with ' ' or '+'. */
function applied(text: string, diff: string, file: string): string {
  return diff
    .split(/^@@.*\n/m)
    .filter((hunk) => hunk !== '')
    .reduce((current, hunk) => {
      const lines = hunk.replace(/\n$/, '').split('\n');
      const side = (mark: string): string =>
        lines
          .filter((line) => line.startsWith(' ') || line.startsWith(mark))
          .map((line) => `${line.slice(1)}\n`)
          .join('');
      const parts = current.split(side('-'));
      if (parts.length === 1) throw new Error(`${file} does not have\n${side('-')}`);
      if (parts.length > 2) throw new Error(`${file} has more than once\n${side('-')}`);
      return parts.join(side('+'));
    }, text);
}
