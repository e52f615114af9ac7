import { describe, expect, it } from '@jest/globals';
import { read } from './source-tree.js';

/** A part of a page, from a heading to the next of its rank. */
function sectionOf(page: string, heading: string): string {
  const rank = heading.slice(0, heading.indexOf(' '));
  const [, section] = new RegExp(`^${heading}$([^]*?)(?=^${rank} |\\n<!-- /figures|(?![^]))`, 'm').exec(read(page)) ?? [];
  if (section === undefined) throw new Error(`${page} has no heading "${heading}"`);
  return section;
}

/** What its first table says in numbers of three digits and more. */
function numbersOf(section: string): string[] {
  const [table = ''] = /(^\|.*\n)+/m.exec(section) ?? [];
  return table.match(/\b(\d{1,3}(,\d{3})+|\d{3,})\b/g) ?? [];
}

describe('figures that are told outside of the table they were measured in', () => {
  const measured = sectionOf('docs/benchmarks.md', '### beside');

  it.each([
    ['README.md', '## How fast'],
    ['docs/benchmarks.md', '## Beside other systems'],
  ])('%s, %s: are those of `beside`', (page, heading) => {
    const told = numbersOf(sectionOf(page, heading));
    expect(told.length).toBeGreaterThan(9);
    expect(told.filter((number) => !new RegExp(`(?<![\\d,])${number}(?![\\d,])`).test(measured))).toEqual([]);
  });
});
