import { deliveryOf } from './kafka.message.js';
import { OffsetTracker } from './offset-tracker.js';
/** One partition for as long as it is this member's: its deliveries, and how far they are. */ export class KafkaPartition {
  topic;
  id;
  tracker = new OffsetTracker();
  /** Nothing is taken from it now. */ held = false;
  lost = false;
  deliveries = new Set();
  waiting = [];
  constructor(topic, id) {
    this.topic = topic;
    this.id = id;
  }
  /** Hands one message over; resolves once it is settled. An offset that is not settled keeps the commit behind it. */ async deliver(
    message,
    deliver,
  ) {
    const offset = BigInt(message.offset);
    const abort = new AbortController();
    this.tracker.begin(offset);
    this.deliveries.add(abort);
    try {
      const settlement = await deliver(deliveryOf(this.topic, this.id, message, abort.signal));
      if (settlement === 'settled') this.tracker.settle(offset);
      return settlement;
    } finally {
      this.deliveries.delete(abort);
      if (this.deliveries.size === 0) for (const wake of this.waiting.splice(0)) wake();
    }
  }
  /** It is another member's now, or will be. */ lose(reason) {
    this.lost = true;
    for (const abort of this.deliveries) abort.abort(reason);
  }
  get isLost() {
    return this.lost;
  }
  /** Resolves once nothing is in flight. */ drained() {
    return this.deliveries.size === 0 ? Promise.resolve() : new Promise((resolve) => this.waiting.push(resolve));
  }
}

//# sourceMappingURL=kafka.partition.js.map
