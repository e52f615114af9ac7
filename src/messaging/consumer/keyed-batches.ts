import { afterThisTurn } from '../../database/after-this-turn.js';

/**
 * Gathers items into batches of one kind, in the order in which they came: those of a key stay in order, in one batch
 * or in one batch after the other, never in two at once. Nobody waits for a batch to be full.
 */
export class KeyedBatches<T extends { readonly key: string }> {
  private waiting: T[] = [];
  /** How many of a key's items are being worked on. */
  private readonly busy = new Map<string, number>();
  private underWay = 0;
  /** What comes together goes together. */
  private readonly soon = afterThisTurn(() => this.next());

  constructor(
    private readonly options: {
      readonly most: number;
      readonly atOnce: number;
      /** Items of different kinds are not put together. */
      readonly kindOf: (item: T) => unknown;
      /** Must not reject, and call `done` for each item. When it resolves, the next batch may begin, with other keys than those not done. */
      readonly work: (batch: readonly T[], done: (item: T) => void) => Promise<void>;
    },
  ) {}

  add(item: T): void {
    this.waiting.push(item);
    this.soon();
  }

  private next(): void {
    while (this.underWay < this.options.atOnce && this.waiting.length > 0) {
      const batch = this.take();
      if (batch.length === 0) return;
      for (const { key } of batch) this.busy.set(key, (this.busy.get(key) ?? 0) + 1);
      this.underWay++;
      void this.options
        .work(batch, (item) => this.done(item))
        .finally(() => {
          this.underWay--;
          this.soon();
        });
    }
  }

  private done({ key }: T): void {
    const left = (this.busy.get(key) ?? 1) - 1;
    if (left > 0) this.busy.set(key, left);
    else {
      this.busy.delete(key);
      this.soon();
    }
  }

  /** An item that stays behind keeps the later ones of its key behind. */
  private take(): T[] {
    const batch: T[] = [];
    const left: T[] = [];
    const behind = new Set(this.busy.keys());
    let kind: unknown;
    for (const item of this.waiting) {
      if (batch.length === this.options.most || behind.has(item.key) || (batch.length > 0 && this.options.kindOf(item) !== kind)) {
        behind.add(item.key);
        left.push(item);
        continue;
      }
      if (batch.length === 0) kind = this.options.kindOf(item);
      batch.push(item);
    }
    this.waiting = left;
    return batch;
  }
}
