import type { ActiveSubscription, BrokerAdapter, OutgoingMessage } from '../../src/messaging/transport/broker-adapter.js';

/** Takes everything at once: what is left is the relay's own cost. */
export class NullBroker implements BrokerAdapter {
  readonly maxMessageBytes = 1024 * 1024;
  readonly counts = { events: 0, disorder: 0 };
  private readonly last = new Map<string, number>();

  open(): Promise<void> {
    return Promise.resolve();
  }

  publish(messages: readonly OutgoingMessage[]): Promise<readonly undefined[]> {
    for (const { key, payload } of messages) {
      const n = Number(/"n":(\d+)/.exec(payload.toString('utf8'))?.[1]);
      if (n !== (this.last.get(key) ?? 0) + 1) this.counts.disorder++;
      this.last.set(key, n);
      this.counts.events++;
    }
    return Promise.resolve(messages.map(() => undefined));
  }

  subscribe(): Promise<ActiveSubscription> {
    return Promise.reject(new Error('nothing can be had from the null broker'));
  }

  check(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
