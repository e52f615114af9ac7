/** A process of the application, as far as time and death concern it. */
export class SimulatedProcess {
  dead = false;
  /** It does nothing before this moment; what comes meanwhile waits. */
  frozenUntil = 0;
  constructor(readonly name: string) {}
}

interface Entry {
  at: number;
  readonly order: number;
  readonly process: SimulatedProcess | undefined;
  readonly run: () => void;
  cancelled: boolean;
}

/** Far more than any history takes. */
const MOST_STEPS = 300_000;
/** A busy process comes to what it has put off to the end of its turn after so long, and more has come by then. */
const LONGEST_TURN_MS = 20;

const realSetImmediate = setImmediate;

/** A seeded source of numbers from 0 to 1 (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * Time that passes only when everything that can happen now has happened. While it is installed, timers, clocks
 * and Math.random of this realm are its own; a timer belongs to the process whose code has set it.
 */
export class VirtualTime {
  private readonly heap: Entry[] = [];
  private order = 0;
  /** Whose code runs in this step. Whatever reaches a process is a step of its own, so this holds for all that a step sets off. */
  private current: SimulatedProcess | undefined;
  private uninstall: (() => void) | undefined;
  now = 0;
  steps = 0;

  constructor(readonly random: () => number) {}

  process(): SimulatedProcess | undefined {
    return this.current;
  }

  /** Makes the step under way, which was nobody's, the process's; false when it is another's, or the process cannot act. */
  claim(process: SimulatedProcess | undefined): boolean {
    if (!process || process.dead || process.frozenUntil > this.now) return false;
    this.current ??= process;
    return this.current === process;
  }

  /** @param process undefined: of the world outside, which neither dies nor freezes */
  schedule(delay: number, run: () => void, process: SimulatedProcess | undefined): Entry {
    const entry = { at: this.now + Math.max(0, delay), order: this.order++, process, run, cancelled: false };
    this.push(entry);
    return entry;
  }

  /** Lets time pass until the condition holds, asked after every step, or until the moment; answers whether it held. */
  async until(condition: () => boolean, moment: number): Promise<boolean> {
    for (;;) {
      await new Promise<void>((resolve) => realSetImmediate(resolve));
      this.current = undefined;
      if (condition()) return true;
      const entry = this.pop();
      if (!entry || entry.at > moment) {
        if (entry) this.push(entry);
        this.now = Math.max(this.now, moment);
        return false;
      }
      this.step(entry);
    }
  }

  private step(entry: Entry): void {
    this.now = Math.max(this.now, entry.at);
    if (++this.steps > MOST_STEPS) throw new Error(`no end after ${MOST_STEPS} steps: something runs without time passing`);
    this.current = entry.process;
    entry.run();
  }

  install(): void {
    const before = {
      setTimeout,
      clearTimeout,
      setInterval,
      clearInterval,
      setImmediate,
      Date,
      performanceNow: performance.now,
      random: Math.random,
      depth: Error.stackTraceLimit,
    };
    const { schedule, random } = this;
    const nowMs = (): number => this.now;
    const start = before.Date.UTC(2030, 0, 1);
    const owner = (): SimulatedProcess | undefined => this.process();
    const VirtualDate = class extends before.Date {
      constructor(...values: [] | [number | string | Date]) {
        super(values.length === 0 ? start + nowMs() : (values[0] as number));
      }
      static override now(): number {
        return start + nowMs();
      }
    };
    const after = (run: () => void, delay = 0): unknown => schedule.call(this, Math.max(1, delay), run, owner());
    const soon = (run: () => void): unknown => schedule.call(this, random() * LONGEST_TURN_MS, run, owner());
    const every = (run: () => void, delay = 0): unknown => {
      const process = owner();
      const handle = { cancelled: false, entry: undefined as Entry | undefined };
      const again = (): void => {
        handle.entry = schedule.call(
          this,
          delay,
          () => {
            if (handle.cancelled) return;
            again();
            run();
          },
          process,
        );
      };
      again();
      return handle;
    };
    const clear = (handle: unknown): void => {
      if (typeof handle !== 'object' || handle === null) return;
      const timer = handle as { cancelled: boolean; entry?: Entry };
      timer.cancelled = true;
      if (timer.entry) timer.entry.cancelled = true;
    };
    Object.assign(globalThis, {
      setTimeout: after,
      clearTimeout: clear,
      setInterval: every,
      clearInterval: clear,
      setImmediate: soon,
      Date: VirtualDate,
    });
    performance.now = nowMs;
    Math.random = random;
    Error.stackTraceLimit = 0; // stacks cost more than all the rest
    this.uninstall = () => {
      const { performanceNow, random: realRandom, depth, ...globals } = before;
      Object.assign(globalThis, globals);
      performance.now = performanceNow;
      Math.random = realRandom;
      Error.stackTraceLimit = depth;
    };
  }

  remove(): void {
    this.uninstall?.();
    this.uninstall = undefined;
    this.heap.length = 0;
  }

  private pop(): Entry | undefined {
    for (;;) {
      const { heap } = this;
      const top = heap[0];
      if (!top) return undefined;
      const last = heap.pop() as Entry;
      if (heap.length > 0) {
        heap[0] = last;
        this.sink(0);
      }
      if (top.cancelled || top.process?.dead) continue;
      if (top.process && top.process.frozenUntil > Math.max(top.at, this.now)) {
        top.at = top.process.frozenUntil;
        this.push(top);
        continue;
      }
      return top;
    }
  }

  private push(entry: Entry): void {
    const { heap } = this;
    let i = heap.length;
    heap.push(entry);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(entry, heap[parent] as Entry)) break;
      heap[i] = heap[parent] as Entry;
      i = parent;
    }
    heap[i] = entry;
  }

  private sink(from: number): void {
    const { heap } = this;
    const entry = heap[from] as Entry;
    let i = from;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Entry, heap[child] as Entry)) child++;
      if (!before(heap[child] as Entry, entry)) break;
      heap[i] = heap[child] as Entry;
      i = child;
    }
    heap[i] = entry;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
