import fs from 'node:fs';

const TICK_MICROSECONDS = 10_000;

/** CPU time that processes, and the children that they have outlived, have used: microseconds. NaN where there is no /proc. */
export function cpuOf(pids: readonly number[]): number {
  if (process.platform !== 'linux') return Number.NaN;
  return pids.reduce((sum, pid) => sum + ticksOf(pid), 0) * TICK_MICROSECONDS;
}

function ticksOf(pid: number): number {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0);
  } catch {
    return 0; // it has ended, and its parent has its time
  }
}
