import fs from 'node:fs';
import { inRoot } from '../../scripts/lib/root.mjs';
import type { CommittedRatios } from './check.js';
import { idOf, reportOf, tablesOf, type Report } from './report.js';

const DOCUMENT = inRoot('docs', 'benchmarks.md');
const FIGURES = /(<!-- figures -->\n)[^]*(<!-- \/figures -->)/;
/** A machine that others use too gives figures that differ by a third; what is worse than that is a change of ours. */
const TOLERANCE = 0.4;

export const RATIOS = inRoot('bench', 'ratios.json');

/** Writes the figures of reports, all of their runs together, into docs/benchmarks.md, and their ratios to be checked against. */
export function publish(files: readonly string[]): void {
  const reports = files.map((file) => JSON.parse(fs.readFileSync(file, 'utf8')) as Report);
  const [first] = reports;
  if (!first) throw new Error('--publish wants the JSON files of one or more runs.');
  const versions = [...new Set(reports.flatMap((report) => report.versions))].filter((version) => !version.startsWith('Node ')); // said by reportOf
  const whole: Report = {
    ...reportOf(
      reports.flatMap(({ figures }) => figures),
      versions,
      first.events,
    ),
    machine: first.machine,
  };
  const { rows } = whole;
  const about = [
    `- Machine: ${whole.machine}`,
    `- Versions: ${whole.versions.join(', ')}`,
    `- Medians of the runs that the table names, else one run, of ${[...new Set(reports.map(({ events }) => events.toLocaleString('en-US')))].join(' and ')} events on ${whole.at.slice(0, 10)}, each with servers of its own`,
  ];
  const text = fs.readFileSync(DOCUMENT, 'utf8');
  fs.writeFileSync(
    DOCUMENT,
    text.replace(FIGURES, (_, begin: string, end: string) => `${begin}\n${about.join('\n')}\n\n${tablesOf(whole)}\n\n${end}`),
  );
  const ratios: CommittedRatios = {
    tolerance: TOLERANCE,
    ratios: Object.fromEntries(
      rows
        .filter(({ toBaseline, toLimit }) => toBaseline !== undefined || toLimit !== undefined)
        .map((row) => [
          idOf(row),
          {
            ...(row.toBaseline !== undefined && { toBaseline: rounded(row.toBaseline) }),
            ...(row.toLimit !== undefined && { toLimit: rounded(row.toLimit) }),
          },
        ]),
    ),
  };
  fs.writeFileSync(RATIOS, `${JSON.stringify(ratios, undefined, 2)}\n`);
}

function rounded(value: number): number {
  return Number(value.toPrecision(3));
}
