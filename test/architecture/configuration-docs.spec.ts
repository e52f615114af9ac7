import { describe, expect, it } from '@jest/globals';
import { read } from './source-tree.js';

interface Variable {
  readonly name: string;
  /** Empty: unset. */
  readonly preset: string;
}

describe('docs/configuration.md', () => {
  const example = [...read('.env.example').matchAll(/^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$/gm)].map(([, name = '', value = '']): Variable => ({
    name,
    preset: value.replaceAll('"', ''),
  }));
  const page = [...read('docs/configuration.md').matchAll(/^\| `([A-Z][A-Z0-9_]+)` +\| (.+?) +\| (.*?) *\|$/gm)].map(
    ([, name = '', preset = '']): Variable => ({ name, preset: preset === '–' ? '' : preset.replaceAll('`', '') }),
  );

  it('has every variable of .env.example, once, and no other', () => {
    expect(page.length).toBeGreaterThan(30);
    expect(page.map(({ name }) => name).sort()).toEqual(example.map(({ name }) => name).sort());
  });

  it('shows the same defaults', () => {
    const byName = (variables: readonly Variable[]): Record<string, string> =>
      Object.fromEntries(variables.map(({ name, preset }) => [name, preset]));
    expect(byName(page)).toEqual(byName(example));
  });
});
