import { readFileSync } from 'node:fs';
import { AppProcess } from '../support/app-process.js';

const START_MS = 90_000;
const START_TRIES = 3;

/** One place for an instance of the application, whose process is ended and started again. */
export class Instance {
  app: AppProcess | undefined;
  /** Every process that has run here, the one of now included. */
  readonly processes: AppProcess[] = [];
  readonly problems: string[] = [];
  /** Starts that ended in an exit, because something was away, and were made again. */
  failedStarts = 0;
  private expected = false;

  constructor(
    readonly name: string,
    private readonly env: Readonly<Record<string, string>>,
    private readonly note: (text: string) => void,
  ) {}

  /** Starts a process, and another one where that ends before it is ready, as whatever runs a deployment would. */
  async start(): Promise<AppProcess> {
    this.expected = false;
    const app = await this.started(START_TRIES);
    this.processes.push(app);
    this.app = app;
    app.child.once('exit', (code, signal) => {
      if (this.app === app) this.app = undefined;
      if (!this.expected)
        this.problems.push(
          `${this.name} (pid ${app.child.pid}) ended by itself with ${signal ?? `code ${code}`}: ${app.output.slice(-1500)}`,
        );
    });
    return app;
  }

  private async started(tries: number): Promise<AppProcess> {
    try {
      return await AppProcess.start(this.env, { timeoutMs: START_MS });
    } catch (error) {
      if (tries <= 1) throw error;
      this.failedStarts++;
      this.note(`  ${this.name} did not start, and is started again: ${(error as Error).message.slice(0, 1500)}`);
      return this.started(tries - 1);
    }
  }

  /** Ends the process, if one runs; answers its exit code or the signal that ended it. */
  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<number | NodeJS.Signals | null> {
    const { app } = this;
    if (!app) return null;
    this.expected = true;
    const end = await app.end(signal);
    if (this.app === app) this.app = undefined;
    return end;
  }

  /** Suspends the process; true when the system says that it is suspended, or cannot tell. */
  async freeze(): Promise<boolean> {
    const pid = this.app?.child.pid;
    if (pid === undefined) return false;
    process.kill(pid, 'SIGSTOP');
    return standStill([pid]);
  }

  thaw(): void {
    const pid = this.app?.child.pid;
    if (pid !== undefined) process.kill(pid, 'SIGCONT');
  }
}

/** Waits until the system says of each process that it is suspended; true where it cannot tell. */
export async function standStill(pids: readonly number[]): Promise<boolean> {
  for (let tries = 0; tries < 1000; tries++) {
    if (pids.map(stateOf).every((state) => state === 'T' || state === undefined)) return true;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return false;
}

/** The letter that Linux has for what a process is doing; undefined elsewhere, and of a process that has ended. */
function stateOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const state = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[0];
    return state === 'Z' ? undefined : state;
  } catch {
    return undefined;
  }
}
