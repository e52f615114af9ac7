import { describe, expect, it } from '@jest/globals';
import ts from 'typescript';
import { parse, placeOf, read, typescriptFiles, walkNodes } from './source-tree.js';

describe('the environment', () => {
  it('is read by src/config alone', () => {
    const files = typescriptFiles('src').filter((file) => !file.startsWith('src/config/') && !file.startsWith('src/database/generated/'));
    expect(files.length).toBeGreaterThan(50);
    expect(files.flatMap((file) => readings(file, read(file)))).toEqual([]);
  });

  it.each([
    "const url = process.env['DATABASE_URL'];",
    'const { env } = process;',
    "import { env } from 'node:process';",
    "import process from 'node:process';",
    'start(process.env);',
    'start(globalThis.process.env);',
  ])('is caught being read by %s', (text) => {
    expect(readings('x.ts', text)).toEqual(['x.ts:1']);
  });

  it('may be anything else of the process', () => {
    expect(readings('x.ts', "process.exit(1); const env = { a: 1 }; env.a; child.env; import { constants } from 'node:os';")).toEqual([]);
  });
});

/** The places where code gets at process.env, by whatever way. */
function readings(file: string, text: string): string[] {
  const found = new Set<string>();
  walkNodes(parse(file, text), (node) => {
    const property = ts.isPropertyAccessExpression(node) && node.name.text === 'env' && isProcess(node.expression);
    const destructured =
      ts.isVariableDeclaration(node) &&
      ts.isObjectBindingPattern(node.name) &&
      node.initializer !== undefined &&
      isProcess(node.initializer) &&
      node.name.elements.some((element) => (element.propertyName ?? element.name).getText() === 'env');
    const imported = ts.isImportDeclaration(node) && /^['"](node:)?process['"]$/.test(node.moduleSpecifier.getText());
    if (property || destructured || imported) found.add(placeOf(node));
  });
  return [...found];
}

function isProcess(expression: ts.Expression): boolean {
  if (ts.isIdentifier(expression)) return expression.text === 'process';
  return ts.isPropertyAccessExpression(expression) && expression.name.text === 'process';
}
