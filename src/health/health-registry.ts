import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { LOGGER, type Logger } from '../observability/logger.js';
import { withoutUserinfo } from '../observability/redaction.js';

export interface HealthReason {
  readonly name: string;
  readonly reason: string;
}

const EVERY_MS = 2000;
const TIMEOUT_MS = 8000;
const SHOWN_CHARACTERS = 300;

interface HealthCheck {
  readonly check: () => Promise<void> | void;
  reason: string | undefined;
  /** A check that hangs is not asked again meanwhile: it may hold a connection. */
  running: boolean;
}

/**
 * Whether the process can do its work, and if not, why. The checks run in the background: asking is quick, also
 * while what is checked hangs.
 */
@Injectable()
export class HealthRegistry implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly checks = new Map<string, HealthCheck>();
  private stopping = false;
  private timer: NodeJS.Timeout | undefined;

  constructor(@Inject(LOGGER) private readonly logger: Logger) {}

  /** The check rejects with the reason, in words for a person, when something is not as it should be. */
  register(name: string, check: () => Promise<void> | void): void {
    this.checks.set(name, { check, reason: 'not checked yet', running: false });
  }

  /** Empty when all is well. */
  reasons(): HealthReason[] {
    if (this.stopping) return [{ name: 'process', reason: 'shutting down' }];
    return [...this.checks].flatMap(([name, { reason }]) => (reason === undefined ? [] : [{ name, reason }]));
  }

  /** From here on it is not ready, whatever the checks say. */
  markStopping(): void {
    this.stopping = true;
    clearInterval(this.timer);
  }

  async onApplicationBootstrap(): Promise<void> {
    await this.runAll();
    this.timer = setInterval(() => void this.runAll(), EVERY_MS);
  }

  onApplicationShutdown(): void {
    clearInterval(this.timer);
  }

  private async runAll(): Promise<void> {
    await Promise.all([...this.checks.keys()].map((name) => this.run(name)));
  }

  private async run(name: string): Promise<void> {
    const entry = this.checks.get(name);
    if (!entry || entry.running) return;
    entry.running = true;
    const before = entry.reason;
    const checking = Promise.resolve()
      .then(() => entry.check())
      .then(
        () => undefined,
        (error: unknown) => wordsOf(error),
      )
      .then((reason) => {
        entry.reason = reason;
        entry.running = false;
      });
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        entry.reason = `did not answer within ${TIMEOUT_MS / 1000} s`;
        resolve();
      }, TIMEOUT_MS);
      timer.unref();
    });
    await Promise.race([checking, timeout]);
    clearTimeout(timer);
    if (this.stopping) return; // what is being closed does not answer, and that is news to nobody
    if (before === 'not checked yet' || (before === undefined) === (entry.reason === undefined)) return;
    if (entry.reason === undefined) this.logger.info({ check: name }, 'healthy again');
    else this.logger.warn({ check: name, reason: entry.reason }, 'not healthy');
  }
}

/** Anybody may read this: one line, without credentials. */
function wordsOf(error: unknown): string {
  const { message, code, name, errors } = error as Partial<AggregateError> & { code?: string };
  const words = message || (errors?.[0] as Error | undefined)?.message || code || name || 'failed without a reason';
  return withoutUserinfo(words).replace(/\s+/g, ' ').trim().slice(0, SHOWN_CHARACTERS);
}
