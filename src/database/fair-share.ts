/** Who wants a connection: somebody who waits for an answer, or the handling of an event, which can come later. */
export type Claimant = 'request' | 'event';

/**
 * Lends a number of places to two kinds of claimants, so that a backlog of one leaves the other its share (max-min
 * fairness). While one kind wants none, the other may have all. While both want more, each comes to have half, because
 * a place that is given back goes to the kind that holds fewer, and a request comes first where they are even. Within a
 * kind the first to come is the first to be served.
 */
export class FairShare {
  private readonly held: Record<Claimant, number> = { request: 0, event: 0 };
  private readonly waiting: Record<Claimant, (() => void)[]> = { request: [], event: [] };

  constructor(
    private readonly places: number,
    private readonly timeoutMs: number,
  ) {}

  /** How many of them wait for a place. */
  waitingOf(claimant: Claimant): number {
    return this.waiting[claimant].length;
  }

  /**
   * Resolves once there is a place, which is to be given back by `leave`.
   * @throws Error after `timeoutMs`
   */
  enter(claimant: Claimant): Promise<void> {
    // Where a place is free nobody waits: each that is given back goes to whoever does.
    if (this.held.request + this.held.event < this.places) {
      this.held[claimant]++;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const line = this.waiting[claimant];
      const admit = (): void => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        line.splice(line.indexOf(admit), 1);
        reject(
          new Error(
            `timeout exceeded when trying to connect: all ${this.places} connections were in use for ${this.timeoutMs} ms (DATABASE_POOL_SIZE)`,
          ),
        );
      }, this.timeoutMs);
      line.push(admit);
    });
  }

  leave(claimant: Claimant): void {
    this.held[claimant]--;
    const { request, event } = this.waiting;
    const next = request.length > 0 && (event.length === 0 || this.held.request <= this.held.event) ? 'request' : 'event';
    const admit = this.waiting[next].shift();
    if (!admit) return;
    this.held[next]++;
    admit();
  }
}
