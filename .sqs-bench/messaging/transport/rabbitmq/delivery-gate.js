/** Lets at most `limit` deliveries through at once; the others wait in the order in which they came. */ export class DeliveryGate {
  limit;
  inside = 0;
  waiting = [];
  constructor(limit) {
    this.limit = limit;
  }
  /** `start` answers undefined when there is nothing to deliver any more, else a promise that resolves when it is settled. */ push(start) {
    this.waiting.push(start);
    this.admit();
  }
  admit() {
    while (this.inside < this.limit) {
      const start = this.waiting.shift();
      if (!start) return;
      const settled = start();
      if (!settled) continue;
      this.inside++;
      void settled.then(() => {
        this.inside--;
        this.admit();
      });
    }
  }
}

//# sourceMappingURL=delivery-gate.js.map
