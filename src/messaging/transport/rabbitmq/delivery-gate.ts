/** Lets at most `limit` deliveries through at once; the others wait in the order in which they came. */
export class DeliveryGate {
  private inside = 0;
  private readonly waiting: (() => Promise<void> | undefined)[] = [];

  constructor(private readonly limit: number) {}

  /** `start` answers undefined when there is nothing to deliver any more, else a promise that resolves when it is settled. */
  push(start: () => Promise<void> | undefined): void {
    this.waiting.push(start);
    this.admit();
  }

  private admit(): void {
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
