import { describe, expect, it } from '@jest/globals';
import path from 'node:path';
import ts from 'typescript';
import { read, ROOT } from './source-tree.js';

describe('docs/nest-handlers.md', () => {
  it('has code that compiles where it says it stands', () => {
    const files = new Map(
      [...read('docs/nest-handlers.md').matchAll(/^```ts file=(\S+)\n([^]*?)^```$/gm)].map(([, file = '', text = '']) => [
        path.posix.join(ROOT.replaceAll('\\', '/'), file),
        text,
      ]),
    );
    expect([...files.keys()]).toHaveLength(2);
    const { config } = ts.readConfigFile(path.join(ROOT, 'tsconfig.json'), ts.sys.readFile.bind(ts.sys)) as { config: object };
    const { options } = ts.parseJsonConfigFileContent({ ...config, files: [...files.keys()], include: [] }, ts.sys, ROOT);
    const host = ts.createCompilerHost(options);
    const { readFile, fileExists } = host;
    host.readFile = (name) => files.get(name) ?? readFile(name);
    host.fileExists = (name) => files.has(name) || fileExists(name);
    // Where the page says "your rows" nothing uses what is at hand for them.
    const program = ts.createProgram(
      [...files.keys()],
      { ...options, noEmit: true, noUnusedLocals: false, noUnusedParameters: false },
      host,
    );
    const problems = [...files.keys()].flatMap((file) => {
      const source = program.getSourceFile(file);
      return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
    });
    expect(problems.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))).toEqual([]);
  });
});
