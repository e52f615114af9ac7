import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const PROFILE = process.env['BENCH_PROFILE'];

/** A process under measurement, and the means to make it do things. */
export class Subject {
  private readonly waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  private next = 1;

  private constructor(private readonly child: ChildProcess) {
    child.once('exit', () => {
      for (const { reject } of this.waiting.values()) reject(new Error('the process has ended'));
    });
    child.on('message', ({ id, value, error }: { id: number; value: never; error?: string }) => {
      const call = this.waiting.get(id);
      this.waiting.delete(id);
      if (error === undefined) call?.resolve(value);
      else call?.reject(new Error(error));
    });
  }

  get pid(): number {
    return this.child.pid as number;
  }

  /** Starts one of bench/'s own programs; resolves once it serves. */
  static async start(program: string, env: Readonly<Record<string, string>>): Promise<Subject> {
    const child = fork(fileURLToPath(new URL(`../${program}`, import.meta.url)), {
      env: { PATH: process.env['PATH'] ?? '', ...env },
      execArgv: [...process.execArgv, ...(PROFILE ? ['--cpu-prof', `--cpu-prof-dir=${PROFILE}`] : [])],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const subject = new Subject(child);
    await new Promise<void>((resolve, reject) => {
      subject.waiting.set(0, { resolve: () => resolve(), reject });
      child.once('exit', (code, signal) => reject(new Error(`${program} ended with ${signal ?? code} before it served`)));
    });
    return subject;
  }

  call<T>(name: string, argument?: unknown): Promise<T> {
    const id = this.next++;
    return new Promise<T>((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as (value: never) => void, reject });
      this.child.send({ id, name, argument });
    });
  }

  async stop(): Promise<void> {
    const exited = new Promise((resolve) => this.child.once('exit', resolve));
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    await this.call('stop').catch(() => undefined); // it is going to end anyway
    const kill = setTimeout(() => this.child.kill('SIGKILL'), 15_000);
    await exited;
    clearTimeout(kill);
  }
}
