import { execFile, spawn } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { inRoot } from '../../scripts/lib/root.mjs';
import type { Stage } from './bench.js';

const SOURCE = inRoot('bench', 'peers', 'watermill');
const PROGRAM = inRoot('.waybill', 'watermill');

/** What is committed and not yet with Kafka; of its table and that of its forwarder's offsets. */
export const WATERMILL_BACKLOG = `
  SELECT count(*) FROM watermill_outbox WHERE NOT EXISTS (
    SELECT 1 FROM watermill_offsets_outbox at
    WHERE (watermill_outbox.transaction_id, watermill_outbox."offset") <= (at.last_processed_transaction_id, at.offset_acked))`;

export interface Watermill {
  readonly pid: number;
  stop(): Promise<void>;
}

/**
 * Builds bench/peers/watermill.
 * @returns false where there is no Go
 * @throws Error where it does not build
 */
export async function buildWatermill(): Promise<boolean> {
  try {
    await promisify(execFile)('go', ['build', '-o', PROGRAM, '.'], { cwd: SOURCE });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw new Error(`${path.relative(inRoot(), SOURCE)} does not build: ${(error as Error).message}`, { cause: error });
  }
}

/** Starts it in roles that main.go names; resolves once it serves. */
export async function startWatermill(stage: Stage, roles: string, env: Readonly<Record<string, string>>): Promise<Watermill> {
  const child = spawn(PROGRAM, [roles], {
    env: { PATH: process.env['PATH'] ?? '', ...stage.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const kill = (): boolean => child.kill('SIGKILL');
  process.once('exit', kill);
  const stop = async (): Promise<void> => {
    process.removeListener('exit', kill);
    kill(); // the measurement is over, and it leaves nothing behind
    await exited;
  };
  stage.atEnd(stop);
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('error', reject);
    void exited.then(() => reject(new Error(`Watermill as ${roles} ended with ${child.exitCode} before it served`)));
  });
  return { pid: child.pid as number, stop };
}

/** Commits so many messages to its outbox. */
export async function fillWatermill(stage: Stage, count: number, env: Readonly<Record<string, string>>): Promise<void> {
  await promisify(execFile)(PROGRAM, ['fill', String(count)], { env: { ...stage.env, ...env } });
}
