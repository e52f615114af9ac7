import os from 'node:os';
import type { Figure } from './bench.js';
import { digits, medianOf } from './numbers.js';

/** A figure over all runs: the median, and the lowest and highest. */
export interface Row {
  readonly workload: string;
  readonly name: string;
  readonly broker: string;
  readonly unit: string;
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
  /** In how many runs it was measured. */
  readonly runs: number;
  /** How many times better than the baseline, and the part of the limit that is reached; each run is held against itself. */
  readonly toBaseline?: number;
  readonly toLimit?: number;
  /** Microseconds of CPU an event. */
  readonly appCpu?: number;
  readonly databaseCpu?: number;
  readonly brokerCpu?: number;
  readonly walBytes?: number;
  /** Of the run that is nearest to the median. */
  readonly note?: string;
}

export interface Report {
  readonly at: string;
  readonly machine: string;
  readonly versions: readonly string[];
  readonly runs: number;
  readonly events: number;
  readonly rows: readonly Row[];
  /** What each run has found. */
  readonly figures: readonly (readonly Figure[])[];
}

export function reportOf(runs: readonly (readonly Figure[])[], versions: readonly string[], events: number): Report {
  const each = [...new Map(runs.flat().map((figure) => [idOf(figure), figure])).values()];
  const rows = each.map((figure) => rowOf(figure, runs));
  return {
    at: new Date().toISOString(),
    machine: `${os.cpus().length} × ${os.cpus()[0]?.model.trim() ?? 'CPU'}, ${Math.round(os.totalmem() / 2 ** 30)} GB, ${os.type()} ${os.release()}`,
    versions: [`Node ${process.versions.node}`, ...versions],
    runs: Math.max(...rows.map((row) => row.runs)),
    events,
    rows,
    figures: runs,
  };
}

function rowOf(figure: Figure, runs: readonly (readonly Figure[])[]): Row {
  const same = runs.flatMap((run) => run.filter((other) => idOf(other) === idOf(figure)));
  const values = same.map(({ value }) => value);
  const cost = (name: 'appCpu' | 'databaseCpu' | 'brokerCpu' | 'walBytes'): object => {
    const known = same.flatMap((other) => (other[name] === undefined || Number.isNaN(other[name]) ? [] : [other[name]]));
    return known.length > 0 && medianOf(known) > 0 ? { [name]: medianOf(known) } : {};
  };
  const ratio = (field: 'toBaseline' | 'toLimit', name: string | undefined): object => {
    const ratios = runs.flatMap((run) => {
      const mine = run.find((other) => idOf(other) === idOf(figure));
      const other = run.find((candidate) => candidate.workload === figure.workload && candidate.name === name);
      if (!mine || !other) return [];
      return [figure.unit === 'ms' ? other.value / mine.value : mine.value / other.value];
    });
    return ratios.length > 0 ? { [field]: medianOf(ratios) } : {};
  };
  const { workload, name, broker, unit } = figure;
  const median = medianOf(values);
  const { note } = same.reduce((nearest, other) => (Math.abs(other.value - median) < Math.abs(nearest.value - median) ? other : nearest));
  return {
    workload,
    name,
    broker,
    unit,
    median,
    lowest: Math.min(...values),
    highest: Math.max(...values),
    runs: values.length,
    ...ratio('toBaseline', figure.baseline),
    ...ratio('toLimit', figure.limit),
    ...cost('appCpu'),
    ...cost('databaseCpu'),
    ...cost('brokerCpu'),
    ...cost('walBytes'),
    ...(note !== undefined && { note }),
  };
}

export function idOf({ workload, name, broker }: { workload: string; name: string; broker: string }): string {
  return `${workload} · ${name} · ${broker}`;
}

const HEADINGS = [
  'what',
  'broker',
  'median',
  'lowest–highest',
  'to baseline',
  'of the limit',
  'per CPU s',
  'CPU µs app/db/broker',
  'WAL bytes',
  'note',
];

/** So many for a second of CPU of the application and PostgreSQL. */
function perCpuSecond({ appCpu, databaseCpu }: Row): string {
  return appCpu === undefined ? '' : digits(1e6 / (appCpu + (databaseCpu ?? 0)));
}

/** A Markdown table for each workload, readable on a terminal too. */
export function tablesOf(report: Report): string {
  const workloads = [...new Set(report.rows.map(({ workload }) => workload))];
  return workloads
    .map((workload) => `### ${workload}\n\n${tableOf({ ...report, rows: report.rows.filter((row) => row.workload === workload) })}`)
    .join('\n\n');
}

export function tableOf(report: Report): string {
  const cells = report.rows.map((row) => [
    row.name,
    row.broker,
    `${digits(row.median)} ${row.unit}`,
    row.runs > 1 ? `${digits(row.lowest)}–${digits(row.highest)} (${row.runs} runs)` : '',
    row.toBaseline === undefined ? '' : `${digits(row.toBaseline)}x`,
    row.toLimit === undefined ? '' : `${Math.round(row.toLimit * 100)} %`,
    perCpuSecond(row),
    row.appCpu === undefined && row.databaseCpu === undefined
      ? ''
      : [row.appCpu, row.databaseCpu, row.brokerCpu].map((cpu) => (cpu === undefined ? '–' : digits(cpu))).join(' / '),
    row.walBytes === undefined ? '' : digits(row.walBytes),
    row.note ?? '',
  ]);
  const widths = HEADINGS.map((heading, column) => Math.max(heading.length, ...cells.map((row) => (row[column] as string).length)));
  const line = (row: readonly string[]): string => `| ${row.map((cell, column) => cell.padEnd(widths[column] as number)).join(' | ')} |`;
  return [line(HEADINGS), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...cells.map(line)].join('\n');
}
