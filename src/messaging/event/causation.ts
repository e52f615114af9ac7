import { AsyncLocalStorage } from 'node:async_hooks';

/** What an event that is emitted now goes back to. */
export interface Causation {
  readonly correlationid: string;
  readonly causationid?: string;
  readonly traceparent?: string;
}

const storage = new AsyncLocalStorage<Causation>();

/** Everything that `work` emits carries this causation. */
export function withCausation<T>(causation: Causation, work: () => T): T {
  return storage.run(causation, work);
}

/** undefined outside a request or a handler. */
export function currentCausation(): Causation | undefined {
  return storage.getStore();
}
