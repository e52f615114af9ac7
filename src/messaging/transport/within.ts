import { BrokerUnavailableError } from './broker-adapter.js';

/** The work's result, or a BrokerUnavailableError once the time is over; the work's own end is then ignored. */
export async function within<T>(milliseconds: number, complaint: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
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
