import type { ActiveSubscription, BrokerAdapter, Deliver, Subscription } from '../../src/messaging/transport/broker-adapter.js';
import { gate } from '../support/eventually.js';

export interface Supervised extends ActiveSubscription {
  /** Why it was lost, or could not be made, each time. */
  readonly downs: readonly Error[];
}

/** What the messaging module does with a subscription: makes it anew for as long as it is wanted. */
export function supervise(broker: BrokerAdapter, subscription: Subscription, deliver: Deliver, maxInFlight = 500): Supervised {
  const downs: Error[] = [];
  let wanted = true;
  let over = gate();
  const run = (async () => {
    while (wanted) {
      over = gate();
      const mine = over;
      const onDown = (error: Error): void => {
        downs.push(error);
        mine.open();
      };
      try {
        const active = await broker.subscribe(subscription, deliver, { maxInFlight, onDown });
        if (wanted) await mine.opened;
        await active.close();
      } catch (error) {
        downs.push(error as Error);
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
    }
  })();
  return {
    downs,
    close: async () => {
      wanted = false;
      over.open();
      await run;
    },
  };
}
