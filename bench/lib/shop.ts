import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../scripts/lib/ports.mjs';
import type { Stage } from './bench.js';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const READY_MS = 60_000;

export interface Shop {
  readonly subject: { readonly pid: number };
  readonly port: number;
  stop(): Promise<void>;
}

/** Starts the application as it is deployed; it ends with the driver at the latest. */
export async function startShop(stage: Stage, env: Readonly<Record<string, string>>): Promise<Shop> {
  const port = await freePort();
  const profile = process.env['BENCH_PROFILE'];
  const child = spawn(process.execPath, [...(profile ? ['--cpu-prof', `--cpu-prof-dir=${profile}`] : []), MAIN], {
    env: { PATH: process.env['PATH'] ?? '', ...stage.env, PORT: String(port), ...env },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const kill = (): boolean => child.kill('SIGKILL');
  process.once('exit', kill);
  const deadline = performance.now() + READY_MS;
  while (
    !(await fetch(`http://127.0.0.1:${port}/health/ready`).then(
      ({ ok }) => ok,
      () => false,
    ))
  ) {
    if (child.exitCode !== null || performance.now() > deadline)
      throw new Error(`the shop did not become ready (exit code ${child.exitCode})`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const stop = async (): Promise<void> => {
    process.removeListener('exit', kill);
    child.kill('SIGTERM');
    const late = setTimeout(kill, 20_000);
    await exited;
    clearTimeout(late);
  };
  stage.atEnd(stop);
  return { subject: { pid: child.pid as number }, port, stop };
}
