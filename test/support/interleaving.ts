/** Never resolves: the process that got here was killed. */
const KILLED = new Promise<never>(() => undefined);

interface Waiting {
  readonly thread: string;
  readonly go: () => void;
}

/** Runs threads step by step, in an order that the test chooses; a step is what lies between two points of a thread. */
export class Interleaving {
  private readonly waiting: Waiting[] = [];
  private readonly steps = new Map<string, number>();
  private running = 0;
  private arrived = (): void => undefined;

  /** @param kill the thread that dies before its n-th step (from 0) */
  constructor(private readonly kill?: { readonly thread: string; readonly step: number }) {}

  /** Where a thread may be made to wait for the others; begins its next step. */
  point(thread: string): Promise<void> {
    const step = this.steps.get(thread) ?? 0;
    this.steps.set(thread, step + 1);
    return new Promise((go) => {
      this.waiting.push({ thread, go: () => go(this.kill?.thread === thread && this.kill.step === step ? this.die() : undefined) });
      this.leave();
    });
  }

  /** Ends when every thread has ended or was killed; `choose` picks whose step is next out of those that wait. */
  async run(threads: Readonly<Record<string, () => Promise<void>>>, choose: (options: readonly string[]) => number): Promise<void> {
    this.running = Object.keys(threads).length;
    let failure: unknown;
    for (const work of Object.values(threads)) {
      void work()
        .catch((error: unknown) => (failure ??= error))
        .finally(() => this.leave());
    }
    for (;;) {
      while (this.running > 0) await new Promise<void>((arrived) => (this.arrived = arrived));
      if (failure !== undefined) throw failure as Error;
      if (this.waiting.length === 0) return;
      this.waiting.sort((a, b) => (a.thread < b.thread ? -1 : 1));
      const [next] = this.waiting.splice(choose(this.waiting.map(({ thread }) => thread)), 1);
      this.running++;
      next?.go();
    }
  }

  private die(): Promise<never> {
    this.leave();
    return KILLED;
  }

  private leave(): void {
    this.running--;
    this.arrived();
  }
}

/** Every way to choose, one call of `run` each; answers how many there were. */
export async function everyChoice(run: (choose: (options: readonly unknown[]) => number) => Promise<void>): Promise<number> {
  const path: { taken: number; of: number }[] = [];
  for (let runs = 1; ; runs++) {
    let depth = 0;
    await run((options) => {
      const node = (path[depth++] ??= { taken: 0, of: options.length });
      return node.taken;
    });
    path.length = depth;
    while (path.length > 0 && (path.at(-1) as { taken: number; of: number }).taken + 1 === (path.at(-1) as { of: number }).of) path.pop();
    const last = path.at(-1);
    if (!last) return runs;
    last.taken++;
  }
}
