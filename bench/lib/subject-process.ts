import v8 from 'node:v8';
import vm from 'node:vm';
import { quantilesOf, type Quantiles } from './numbers.js';

/** What a subject's process answers to; the driver calls it by name. */
export type Calls = Readonly<Record<string, (argument: never) => Promise<unknown>>>;

/** Serves the driver until it says `stop`. */
export function serve(calls: Calls, stop: () => Promise<void>): void {
  process.on('message', (message: { id: number; name: string; argument: unknown }) => {
    const { name } = message;
    const answer = (name === 'stop' ? stop() : (calls[name] as (argument: unknown) => Promise<unknown>)(message.argument)).then(
      (value) => ({ id: message.id, value }),
      (error: unknown) => ({ id: message.id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    );
    void answer.then((reply) => {
      process.send?.(reply);
      if (name === 'stop') process.disconnect?.();
    });
  });
  process.on('disconnect', () => process.exit(0));
  process.send?.({ id: 0, value: 'ready' });
}

/** Bytes of the heap that are in use, and buffers beside it, when everything that can go has gone. */
export function heapAfterCollection(): number {
  v8.setFlagsFromString('--expose-gc');
  (vm.runInNewContext('gc') as () => void)();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Emits at a steady rate and measures each event from its commit to its handling. */
export class LatencyProbe {
  private readonly committed = new Map<string, number>();
  private readonly handled = new Map<string, number>();
  private running = false;

  /** To be called when an event's effect has committed. */
  readonly onHandled = (id: string): void => {
    if (this.running) this.handled.set(id, performance.now());
  };

  async run(rate: number, count: number, emit: (index: number) => Promise<string>): Promise<Quantiles> {
    this.running = true;
    this.committed.clear(); // an earlier run's, which all were handled
    this.handled.clear();
    const start = performance.now();
    const emitting: Promise<void>[] = [];
    for (let index = 0; index < count; index++) {
      const due = start + (index * 1000) / rate;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
      emitting.push(emit(index).then((id) => void this.committed.set(id, performance.now())));
    }
    await Promise.all(emitting);
    const deadline = performance.now() + 30_000;
    while ([...this.committed.keys()].some((id) => !this.handled.has(id))) {
      if (performance.now() > deadline) throw new Error('not every event was handled within 30 s');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    // An effect can be there before its emitter's process hears that the emitting transaction has committed.
    return quantilesOf([...this.committed].map(([id, at]) => Math.max(0, (this.handled.get(id) as number) - at)));
  }
}
