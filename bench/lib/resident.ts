import fs from 'node:fs';

/** The most memory that a process has had, in MB; NaN where there is no /proc. */
export function mostResident(pid: number): number {
  const status = `/proc/${pid}/status`;
  const [, kilobytes] = /VmHWM:\s+(\d+)/.exec(fs.existsSync(status) ? fs.readFileSync(status, 'utf8') : '') ?? [];
  return Number(kilobytes) / 1024;
}
