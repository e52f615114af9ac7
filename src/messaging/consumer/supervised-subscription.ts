import type { Logger } from '../../observability/logger.js';
import { backoffMs } from '../transport/backoff.js';
import type { ActiveSubscription, BrokerAdapter, Deliver, Subscription } from '../transport/broker-adapter.js';

export type SubscriptionState = 'starting' | 'running' | 'down' | 'paused' | 'stopped';

export interface SupervisedSubscriptionOptions {
  readonly adapter: BrokerAdapter;
  readonly subscription: Subscription;
  readonly deliver: Deliver;
  readonly maxInFlight: number;
  readonly logger: Logger;
  /** The subscription died and is being made anew. */
  readonly onRebuild: () => void;
}

const BASE_MS = 250;
const MAX_MS = 5000;

/**
 * Keeps one subscription consuming: makes it, makes it anew whenever it dies, lets go of it while its group is
 * paused. One loop compares what is wanted with what is, so calls may come in any order and at any time.
 */
export class SupervisedSubscription {
  state: SubscriptionState = 'starting';
  /** Why it is not running, for the operator. */
  trouble: Error | undefined;
  private wanted: 'running' | 'paused' | 'stopped' = 'running';
  private active: ActiveSubscription | undefined;
  private died = false;
  private failures = 0;
  private loop: Promise<void> | undefined;
  private wakeUp: (() => void) | undefined;
  /** Something changed since the loop last looked. */
  private changed = false;

  constructor(private readonly options: SupervisedSubscriptionOptions) {}

  start(wanted: 'running' | 'paused'): void {
    this.wanted = wanted;
    this.loop = this.run();
  }

  want(wanted: 'running' | 'paused'): void {
    if (this.wanted === 'stopped' || this.wanted === wanted) return;
    this.wanted = wanted;
    this.wake();
  }

  /** Resolves once what is in flight is settled and the broker is let go of. */
  async stop(): Promise<void> {
    this.wanted = 'stopped';
    this.wake();
    await this.loop;
    this.state = 'stopped';
  }

  private async run(): Promise<void> {
    for (;;) {
      this.changed = false;
      if (this.active && (this.died || this.wanted !== 'running')) await this.letGo();
      if (this.wanted === 'stopped') return;
      if (this.wanted === 'paused') this.pause();
      else if (!this.active) {
        await this.make();
        if (!this.active) {
          await this.wait(backoffMs(this.failures, BASE_MS, MAX_MS));
          continue;
        }
      }
      await this.wait();
    }
  }

  private pause(): void {
    if (this.state !== 'paused') this.options.logger.info({ ...this.options.subscription }, 'paused by an operator: nothing is consumed');
    this.state = 'paused';
  }

  private async make(): Promise<void> {
    const { adapter, subscription, deliver, maxInFlight, logger } = this.options;
    this.died = false;
    try {
      this.active = await adapter.subscribe(subscription, deliver, { maxInFlight, onDown: (reason) => this.onDown(reason) });
      if (this.died) return;
      this.state = 'running';
      this.trouble = undefined;
      this.failures = 0;
      logger.info({ ...subscription }, 'consuming');
    } catch (error) {
      this.failures++;
      this.state = 'down';
      this.trouble = error as Error;
      if (this.failures === 1) logger.warn({ ...subscription, err: error }, 'the subscription could not be made; trying again');
    }
  }

  private onDown(reason: Error): void {
    this.died = true;
    this.failures++;
    this.state = 'down';
    this.trouble = reason;
    this.options.logger.warn({ ...this.options.subscription, err: reason }, 'the subscription was lost; making it anew');
    this.options.onRebuild();
    this.wake();
  }

  private async letGo(): Promise<void> {
    const active = this.active;
    this.active = undefined;
    this.died = false;
    await active
      ?.close()
      .catch((error: unknown) =>
        this.options.logger.warn(
          { ...this.options.subscription, err: error },
          'the subscription did not close cleanly; the broker will deliver again',
        ),
      );
  }

  private wake(): void {
    this.changed = true;
    this.wakeUp?.();
  }

  private async wait(ms?: number): Promise<void> {
    if (this.changed) return;
    await new Promise<void>((resolve) => {
      const timer = ms === undefined ? undefined : setTimeout(resolve, ms);
      this.wakeUp = (): void => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.wakeUp = undefined;
  }
}
