import { BrokerUnavailableError } from '../broker-adapter.js';
/** The work's result, or a BrokerUnavailableError once the time is over; the work's own end is then ignored. */ export async function within(
  milliseconds,
  complaint,
  work,
) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(
      () => reject(new BrokerUnavailableError(`${complaint} within ${Math.round(milliseconds)} ms`)),
      Math.max(0, milliseconds),
    );
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}

//# sourceMappingURL=within.js.map
