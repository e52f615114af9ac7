import { backoffMs } from '../transport/backoff.js';
const BASE_MS = 250;
const MAX_MS = 5000;
/**
 * Keeps one subscription consuming: makes it, makes it anew whenever it dies, lets go of it while its group is
 * paused. One loop compares what is wanted with what is, so calls may come in any order and at any time.
 */ export class SupervisedSubscription {
  options;
  state = 'starting';
  /** Why it is not running, for the operator. */ trouble;
  wanted = 'running';
  active;
  died = false;
  failures = 0;
  loop;
  wakeUp;
  /** Something changed since the loop last looked. */ changed = false;
  constructor(options) {
    this.options = options;
  }
  start(wanted) {
    this.wanted = wanted;
    this.loop = this.run();
  }
  want(wanted) {
    if (this.wanted === 'stopped' || this.wanted === wanted) return;
    this.wanted = wanted;
    this.wake();
  }
  /** Resolves once what is in flight is settled and the broker is let go of. */ async stop() {
    this.wanted = 'stopped';
    this.wake();
    await this.loop;
    this.state = 'stopped';
  }
  async run() {
    for (;;) {
      this.changed = false;
      if (this.active && (this.died || this.wanted !== 'running')) await this.letGo();
      if (this.wanted === 'stopped') return;
      if (this.wanted === 'paused') this.state = 'paused';
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
  async make() {
    const { adapter, subscription, deliver, maxInFlight, logger } = this.options;
    this.died = false;
    try {
      this.active = await adapter.subscribe(subscription, deliver, {
        maxInFlight,
        onDown: (reason) => this.onDown(reason),
      });
      if (this.died) return;
      this.state = 'running';
      this.trouble = undefined;
      this.failures = 0;
      logger.info(
        {
          ...subscription,
        },
        'consuming',
      );
    } catch (error) {
      this.failures++;
      this.state = 'down';
      this.trouble = error;
      if (this.failures === 1)
        logger.warn(
          {
            ...subscription,
            err: error,
          },
          'the subscription could not be made; trying again',
        );
    }
  }
  onDown(reason) {
    this.died = true;
    this.failures++;
    this.state = 'down';
    this.trouble = reason;
    this.options.logger.warn(
      {
        ...this.options.subscription,
        err: reason,
      },
      'the subscription was lost; making it anew',
    );
    this.options.onRebuild();
    this.wake();
  }
  async letGo() {
    const active = this.active;
    this.active = undefined;
    this.died = false;
    await active?.close().catch((error) =>
      this.options.logger.warn(
        {
          ...this.options.subscription,
          err: error,
        },
        'the subscription did not close cleanly; the broker will deliver again',
      ),
    );
  }
  wake() {
    this.changed = true;
    this.wakeUp?.();
  }
  async wait(ms) {
    if (this.changed) return;
    await new Promise((resolve) => {
      const timer = ms === undefined ? undefined : setTimeout(resolve, ms);
      this.wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.wakeUp = undefined;
  }
}

//# sourceMappingURL=supervised-subscription.js.map
