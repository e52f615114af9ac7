import { describe, expect, it } from '@jest/globals';
import ts from 'typescript';
import { parse, read, walkNodes } from './source-tree.js';

const SUITE = 'test/conformance/conformance-suite.ts';

describe('docs/adding-a-broker.md', () => {
  const page = read('docs/adding-a-broker.md');
  const [, duties = ''] = /<!-- duties -->([^]*)<!-- \/duties -->/.exec(page) ?? [];
  const promised = [...duties.matchAll(/^- \[ \] .+ — `(.+)`$/gm)].map(([, name = '']) => name);

  it('lists one duty for each conformance case, and no other', () => {
    const cases = casesOf(SUITE);
    expect(cases.length).toBeGreaterThan(10);
    expect(promised.sort()).toEqual(cases.sort());
    expect(duties.match(/^- /gm)).toHaveLength(cases.length);
  });

  it('names the methods of the port', () => {
    const methods: string[] = [];
    walkNodes(parse('port.ts', read('src/messaging/transport/broker-adapter.ts')), (node) => {
      if (ts.isInterfaceDeclaration(node) && node.name.text === 'BrokerAdapter')
        methods.push(...node.members.map((member) => member.name?.getText() ?? ''));
    });
    expect(methods.length).toBeGreaterThan(4);
    for (const method of methods) expect(page).toContain(`\`${method}\``);
  });
});

/** The names of the `it` of a spec file. */
function casesOf(file: string): string[] {
  const names: string[] = [];
  walkNodes(parse(file, read(file)), (node) => {
    if (!ts.isCallExpression(node) || node.expression.getText() !== 'it') return;
    const [name] = node.arguments;
    if (name && ts.isStringLiteralLike(name)) names.push(name.text);
  });
  return names;
}
