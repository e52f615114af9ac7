import { createRequire } from 'node:module';
let calm = false;
/**
 * Stops the timer that kafkajs 2.2.4 keeps running for each connection, every millisecond and for ever, to look at
 * requests that wait although none does (kafkajs issue 1751). It is also what makes Node 24 warn of a negative
 * time-out. When a request does wait, kafkajs sets the timer as ever.
 */ export function calmTimers() {
  if (calm) return;
  calm = true;
  const { prototype } = createRequire(import.meta.url)('kafkajs/src/network/requestQueue/index.js');
  const schedule = prototype.scheduleCheckPendingRequests;
  prototype.scheduleCheckPendingRequests = function () {
    if (this.pending.length > 0) schedule.call(this);
  };
}

//# sourceMappingURL=kafkajs-timers.js.map
