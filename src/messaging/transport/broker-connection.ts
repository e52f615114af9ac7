import { Inject, Injectable } from '@nestjs/common';
import { LOGGER, type Logger } from '../../observability/logger.js';
import { Metrics } from '../../observability/metrics.js';
import { backoffMs } from './backoff.js';
import { BrokerUnavailableError, TopologyMismatchError, type BrokerAdapter, type Topology } from './broker-adapter.js';
import { within } from './within.js';

/** Injection token of the adapter that BROKER chose. */
export const BROKER_ADAPTER = Symbol('BROKER_ADAPTER');

const CHECK_INTERVAL_MS = 3000;
const CHECK_TIMEOUT_MS = 6000;
const OPEN_BASE_MS = 250;
const OPEN_MAX_MS = 5000;

/**
 * The process's tie to its broker: makes the topology at boot, or as soon as the broker can be reached, and
 * keeps asking whether it answers. The application starts without its broker; orders are taken meanwhile.
 */
@Injectable()
export class BrokerConnection {
  private opened: Promise<void> | undefined;
  private isOpen = false;
  private trouble: Error | undefined = new BrokerUnavailableError('the broker has not been reached yet');
  private readonly stopping = new AbortController();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    @Inject(BROKER_ADAPTER) readonly adapter: BrokerAdapter,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly metrics: Metrics,
  ) {}

  get maxMessageBytes(): number {
    return this.adapter.maxMessageBytes;
  }

  /**
   * Makes the topology; when the broker cannot be reached, goes on trying in the background and resolves.
   * @throws TopologyMismatchError what exists contradicts the configuration: a person must decide
   */
  async start(topology: Topology): Promise<void> {
    const first = await this.tryOpen(topology);
    if (first instanceof TopologyMismatchError) throw first;
    this.opened = first ? this.keepOpening(topology) : Promise.resolve();
    void this.keepChecking();
  }

  /** Resolves once the topology exists; never rejects, and never resolves when the process stops first. */
  whenOpen(): Promise<void> {
    return this.opened ?? new Promise(() => undefined);
  }

  /** @throws the reason why the broker cannot be used now */
  assertUsable(): void {
    if (this.trouble) throw this.trouble;
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    clearTimeout(this.timer);
    await this.adapter.close();
  }

  private async tryOpen(topology: Topology): Promise<Error | undefined> {
    try {
      await this.adapter.open(topology);
      this.isOpen = true;
      this.setTrouble(undefined);
      return undefined;
    } catch (error) {
      this.setTrouble(error as Error);
      return error as Error;
    }
  }

  private async keepOpening(topology: Topology): Promise<void> {
    for (let failures = 1; !this.stopping.signal.aborted; failures++) {
      await this.pause(backoffMs(failures, OPEN_BASE_MS, OPEN_MAX_MS));
      if (!this.stopping.signal.aborted && !(await this.tryOpen(topology))) return;
    }
    await new Promise(() => undefined);
  }

  private async keepChecking(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      await this.pause(CHECK_INTERVAL_MS);
      if (this.stopping.signal.aborted || !this.isOpen) continue;
      this.setTrouble(await this.answers());
    }
  }

  private async answers(): Promise<Error | undefined> {
    try {
      await within(CHECK_TIMEOUT_MS, 'the broker did not answer', this.adapter.check());
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }

  private setTrouble(trouble: Error | undefined): void {
    if (trouble && trouble.message !== this.trouble?.message)
      this.logger.warn({ err: trouble }, 'the broker cannot be used; events wait in the outbox');
    if (!trouble && this.trouble) this.logger.info('the broker is connected');
    this.trouble = trouble;
    this.metrics.brokerUp.set(trouble ? 0 : 1);
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.timer = setTimeout(resolve, ms);
      this.stopping.signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }
}
