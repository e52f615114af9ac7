/** Runs tasks of one key one after the other, in the order of the calls, and different keys in parallel up to a bound. */ export class KeyedExecutor {
  concurrency;
  tails = new Map();
  waiting = [];
  running = 0;
  constructor(concurrency) {
    this.concurrency = concurrency;
  }
  /** Settles as the task does. */ run(key, task) {
    const before = this.tails.get(key) ?? Promise.resolve();
    const mine = before.then(() => this.bounded(task));
    const tail = mine.catch(() => undefined); // the caller has the error; the key's next task starts all the same
    this.tails.set(key, tail);
    void tail.then(() => {
      if (this.tails.get(key) === tail) this.tails.delete(key);
    });
    return mine;
  }
  async bounded(task) {
    if (this.running >= this.concurrency) await new Promise((resolve) => this.waiting.push(resolve));
    else this.running++;
    try {
      return await task();
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.running--;
    }
  }
}

//# sourceMappingURL=keyed-executor.js.map
