import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../scripts/lib/ports.mjs';
import { eventually } from './eventually.js';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, string> & { items: Record<string, string>[] };
}

/** One instance of the built application, in a process of its own. */
export class AppProcess {
  readonly url: string;
  output = '';
  private constructor(
    readonly child: ChildProcess,
    port: number,
    private readonly token: string,
  ) {
    this.url = `http://127.0.0.1:${port}`;
  }

  /** Resolves once it is ready. */
  static async start(env: Readonly<Record<string, string>>, { timeoutMs = 60_000 } = {}): Promise<AppProcess> {
    const app = await AppProcess.launch(env);
    try {
      await app.ready({ timeoutMs });
    } catch (cause) {
      app.child.kill('SIGKILL');
      throw new Error(`the application did not become ready: ${(cause as Error).message}\n${app.output.slice(-4000)}`, { cause });
    }
    return app;
  }

  /** Starts it, and does not wait. */
  static async launch(env: Readonly<Record<string, string>>): Promise<AppProcess> {
    const port = await freePort();
    const token = env['OPS_TOKEN'] ?? randomUUID();
    const child = spawn(process.execPath, ['--enable-source-maps', MAIN], {
      env: {
        PATH: process.env['PATH'],
        NODE_ENV: 'development',
        PORT: String(port),
        OPS_TOKEN: token,
        LOG_FORMAT: 'json',
        ...awsCredentials(),
        ...env,
      } as NodeJS.ProcessEnv,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const app = new AppProcess(child, port, token);
    for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', (text: string) => (app.output += text));
    return app;
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Resolves once it is ready; rejects as soon as it has ended. */
  async ready({ timeoutMs = 60_000 } = {}): Promise<void> {
    const answer = await eventually(
      async () => {
        if (this.hasEnded) return undefined;
        const { status, body } = await this.get('/health/ready');
        if (status !== 200) throw new Error(`not ready: ${JSON.stringify(body)}`);
        return status;
      },
      { timeoutMs, everyMs: 100 },
    );
    if (answer === undefined) throw new Error(`the application ended with ${this.child.exitCode ?? this.child.signalCode}`);
  }

  get(path: string): Promise<Answer> {
    return this.call('GET', path);
  }

  post(path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    return this.call('POST', path, body, headers);
  }

  async call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const response = await fetch(this.url + path, {
      method,
      headers: { authorization: `Bearer ${this.token}`, ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(15_000),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: (text === '' ? undefined : JSON.parse(text)) as Answer['body'] };
  }

  /** Every item of a list, page by page. */
  async all(path: string): Promise<Record<string, string>[]> {
    const items: Record<string, string>[] = [];
    for (let cursor: string | null = null; ;) {
      const { body } = await this.get(`${path}${path.includes('?') ? '&' : '?'}limit=100${cursor === null ? '' : `&cursor=${cursor}`}`);
      items.push(...body.items);
      cursor = (body['nextCursor'] as string | null | undefined) ?? null;
      if (cursor === null) return items;
    }
  }

  /** Resolves with the exit code, or the signal, once it has ended. */
  ended(): Promise<number | NodeJS.Signals | null> {
    if (this.hasEnded) return Promise.resolve(this.child.exitCode ?? this.child.signalCode);
    return new Promise((resolve) => this.child.once('exit', (code, by) => resolve(code ?? by)));
  }

  /** Ends it and answers the exit code, or the signal that ended it. */
  async end(signal: NodeJS.Signals): Promise<number | NodeJS.Signals | null> {
    const ended = this.ended();
    this.child.kill(signal);
    return ended;
  }
}

/** What the AWS SDK reads by itself; any value does for an emulator. */
function awsCredentials(): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: process.env['AWS_ACCESS_KEY_ID'] ?? 'test',
    AWS_SECRET_ACCESS_KEY: process.env['AWS_SECRET_ACCESS_KEY'] ?? 'test',
  };
}
