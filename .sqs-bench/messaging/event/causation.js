import { AsyncLocalStorage } from 'node:async_hooks';
const storage = new AsyncLocalStorage();
/** Everything that `work` emits carries this causation. */ export function withCausation(causation, work) {
  return storage.run(causation, work);
}
/** undefined outside a request or a handler. */ export function currentCausation() {
  return storage.getStore();
}

//# sourceMappingURL=causation.js.map
