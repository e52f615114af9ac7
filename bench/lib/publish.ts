import fs from 'node:fs';
import { inRoot } from '../../scripts/lib/root.mjs';
import type { CommittedRatios } from './check.js';
import { idOf, reportOf, tableOf, type Report } from './report.js';

const DOCUMENT = inRoot('docs', 'benchmarks.md');
const FIGURES = /(<!-- figures -->\n)([^]*)(<!-- \/figures -->)/;
/** A machine that others use too gives figures that differ by a third; what is worse than that is a change of ours. */
const TOLERANCE = 0.4;

export const RATIOS = inRoot('bench', 'ratios.json');

/**
 * Writes the figures of reports, all of their runs together, into docs/benchmarks.md, and their ratios to be checked
 * against. Workloads that the reports do not have keep what was published of them.
 */
export function publish(files: readonly string[]): void {
  const reports = files.map((file) => JSON.parse(fs.readFileSync(file, 'utf8')) as Report);
  const [first] = reports;
  if (!first) throw new Error('--publish wants the JSON files of one or more runs.');
  const sections = new Map(workloadsOf(reports).map((workload) => [workload, sectionOf(workload, reports)]));
  const text = fs.readFileSync(DOCUMENT, 'utf8');
  fs.writeFileSync(
    DOCUMENT,
    text.replace(FIGURES, (_, begin: string, published: string, end: string) => `${begin}\n${merged(published, sections)}\n\n${end}`),
  );
  const { rows } = reportOf(
    reports.flatMap(({ figures }) => figures),
    [],
    first.events,
  );
  const { ratios: before } = JSON.parse(fs.readFileSync(RATIOS, 'utf8')) as CommittedRatios;
  const ratios: CommittedRatios = {
    tolerance: TOLERANCE,
    ratios: {
      ...Object.fromEntries(Object.entries(before).filter(([id]) => !sections.has(id.slice(0, id.indexOf(' ·'))))),
      ...Object.fromEntries(
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
    },
  };
  fs.writeFileSync(RATIOS, `${JSON.stringify(ratios, undefined, 2)}\n`);
}

function workloadsOf(reports: readonly Report[]): string[] {
  return [...new Set(reports.flatMap(({ rows }) => rows.map(({ workload }) => workload)))];
}

/** A workload's figures, and where, with what and when they were measured. */
function sectionOf(workload: string, all: readonly Report[]): string {
  const reports = all.filter(({ rows }) => rows.some((row) => row.workload === workload)) as [Report, ...Report[]];
  const figures = reports.flatMap((report) => report.figures.map((run) => run.filter((figure) => figure.workload === workload)));
  const events = [...new Set(reports.map((report) => report.events.toLocaleString('en-US')))].join(' or ');
  const versions = [...new Set(reports.flatMap((report) => report.versions))].join(', ');
  return [
    `### ${workload}`,
    `${reports[0].at.slice(0, 10)}, ${events} events a run, on ${reports[0].machine}; ${versions}.`,
    tableOf(reportOf(figures, [], reports[0].events)),
  ].join('\n\n');
}

/** What is published, with these sections in the place of former ones or, where there are none, behind them. */
function merged(published: string, sections: ReadonlyMap<string, string>): string {
  const former = published.split(/^(?=### )/m).flatMap((section) => {
    const workload = /^### (.*)/.exec(section)?.[1];
    return workload === undefined ? [] : [[workload, section.trim()] as const];
  });
  return [...new Map([...former, ...sections]).values()].join('\n\n');
}

function rounded(value: number): number {
  return Number(value.toPrecision(3));
}
