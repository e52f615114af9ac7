import pino from 'pino';
import type { DatabasePool } from '../../database/database-pool.js';
import { Metrics } from '../../observability/metrics.js';
import { Relay } from './relay.js';

/** A relay on a database of one lane that answers whatever the test says. */
describe('the relay', () => {
  it('reads no lane before it knows which of its keys are held, also where the database breaks off', async () => {
    const asked: string[] = [];
    let tries = 0;
    let drained = (): void => undefined;
    const empty = new Promise<void>((resolve) => (drained = resolve));
    const query = (text: string): Promise<unknown[]> => {
      if (text.includes('FROM outbox_held_key')) {
        tries++;
        asked.push(`held, try ${tries}`);
        return tries === 1 ? Promise.reject(new Error('terminating connection due to administrator command')) : Promise.resolve([]);
      }
      if (text.includes('FROM outbox_head(')) {
        asked.push('lane');
        drained();
      }
      return Promise.resolve([]);
    };
    const client = { query: (text: string) => Promise.resolve({ rows: text.includes('SET owner = $2') ? [{ lane: 0 }] : [] }) };
    const database = { query, transaction: (work: (it: typeof client) => unknown) => work(client) } as unknown as DatabasePool;
    const settings = { lanes: 1, instance: 'one', config: { outbox: { leaseMs: 60_000, batchSize: 10 } } };
    const relay = new Relay(
      database,
      { listen: () => () => undefined } as never,
      { whenOpen: () => Promise.resolve(), adapter: {} } as never,
      settings as never,
      new Metrics(),
      pino({ level: 'silent' }),
    );
    relay.start(['things']);
    await empty;
    await relay.stop();
    expect(asked.slice(0, 3)).toEqual(['held, try 1', 'held, try 2', 'lane']);
  });
});
