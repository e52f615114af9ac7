import { AsyncLocalStorage } from 'node:async_hooks';

/** What an event that is emitted now goes back to. */
export interface Causation {
  readonly correlationid: string;
  readonly causationid?: string;
  readonly traceparent?: string;
}

const TRACE_ID = /^00-([0-9a-f]{32})-/;

const storage = new AsyncLocalStorage<Causation>();

/** Everything that `work` emits carries this causation. */
export function withCausation<T>(causation: Causation, work: () => T): T {
  return storage.run(causation, work);
}

/** undefined outside a request or a handler. */
export function currentCausation(): Causation | undefined {
  return storage.getStore();
}

/** The trace that a traceparent (W3C Trace Context) is of. */
export function traceIdOf(traceparent: string | undefined): string | undefined {
  return TRACE_ID.exec(traceparent ?? '')?.[1];
}

/** What every line of the log says while a request or an event is being handled. */
export function loggedCausation(): { readonly correlationId?: string; readonly traceId?: string } {
  const causation = storage.getStore();
  if (!causation) return {};
  const traceId = traceIdOf(causation.traceparent);
  return { correlationId: causation.correlationid, ...(traceId !== undefined && { traceId }) };
}
