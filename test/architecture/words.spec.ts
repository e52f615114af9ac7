import { describe, expect, it } from '@jest/globals';
import ts from 'typescript';
import { parse, placeOf, projectFiles, read, walkNodes } from './source-tree.js';

/** Words that say nothing of what a thing is, or that have another name here: see docs/architecture.md. */
const BANNED = new Set(['bus', 'job', 'jobs', 'manager', 'helper', 'helpers', 'util', 'utils', 'common', 'base', 'impl']);

/** Where the word is an adjective of a number: the delay that a backoff begins with (RETRY_BASE_DELAY_MS). */
const ALLOWED = /^(\w+_)?BASE_(DELAY_)?MS$|^base(Delay)?Ms$|^base64/;

describe('the words of the project', () => {
  it('are kept by the names of files and folders', () => {
    const files = projectFiles();
    expect(files.length).toBeGreaterThan(100);
    expect(files.filter((file) => file.split('/').some((part) => banned(part) !== undefined))).toEqual([]);
  });

  it('are kept by what the code declares', () => {
    const files = projectFiles().filter((file) => /^(src|test|scripts)\/.*\.(ts|mjs)$/.test(file));
    expect(files.length).toBeGreaterThan(100);
    expect(files.flatMap((file) => bannedNames(file, read(file)))).toEqual([]);
  });

  it('never promise what nobody can keep', () => {
    const promise = ['exactly', 'once', 'delivery'].join('[- ]');
    const files = projectFiles().filter((file) => /\.(md|ts|mjs|json|yml)$/.test(file) && file !== 'package-lock.json');
    expect(files.filter((file) => new RegExp(promise, 'i').test(read(file)))).toEqual([]);
  });

  it.each([
    ['class EventBus {}', 'EventBus'],
    ['interface OrderManager {}', 'OrderManager'],
    ['const retry_job = 1;', 'retry_job'],
    ['function f(stringUtils: string) { return stringUtils; }', 'stringUtils'],
    ['class A { private helper = 1; }', 'helper'],
    ['type CommonOptions = {};', 'CommonOptions'],
    ['class BaseConsumer {}', 'BaseConsumer'],
    ['const { impl: relayImpl } = { impl: 1 };', 'relayImpl'],
  ])('catch %s', (text, name) => {
    expect(bannedNames('x.ts', text)).toEqual([`x.ts:1 ${name}`]);
  });

  it.each([
    "import { inspect } from 'node:util';",
    'const RETRY_BASE_DELAY_MS = 1;',
    "Buffer.from('', 'base64');",
    'class Business {}',
    'const imply = 1;',
  ])('allow %s', (text) => expect(bannedNames('x.ts', text)).toEqual([]));
});

function bannedNames(file: string, text: string): string[] {
  const found: string[] = [];
  walkNodes(parse(file, text), (node) => {
    const { name } = node as { name?: ts.Node };
    if (!name || !ts.isIdentifier(name) || !isDeclaration(node) || ALLOWED.test(name.text)) return;
    if (banned(name.text) !== undefined) found.push(`${placeOf(name)} ${name.text}`);
  });
  return found;
}

/** Where a name of ours is made; what libraries call their things is theirs. */
function isDeclaration(node: ts.Node): boolean {
  return (
    ts.isClassLike(node) ||
    ts.isFunctionLike(node) ||
    ts.isInterfaceDeclaration(node) ||
    ts.isTypeAliasDeclaration(node) ||
    ts.isEnumDeclaration(node) ||
    ts.isVariableDeclaration(node) ||
    ts.isBindingElement(node) ||
    ts.isParameter(node) ||
    ts.isPropertyDeclaration(node) ||
    ts.isPropertySignature(node)
  );
}

/** The banned word in a name of several: `EventBus`, `event-bus`, `EVENT_BUS`. */
function banned(name: string): string | undefined {
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .replace(/([A-Z]+)([A-Z][a-z])/g, '$1 $2')
    .split(/[^A-Za-z0-9]+/);
  return words.map((word) => word.toLowerCase()).find((word) => BANNED.has(word));
}
