import { expect } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { BrokerName } from '../../src/config/config.js';
import { AppProcess } from '../support/app-process.js';
import { serverOf } from '../support/brokers-under-test.js';
import { recordEvents } from '../support/event-record.js';
import { eventually } from '../support/eventually.js';
import { freshDatabase, type FreshDatabase } from '../support/fresh-database.js';
import { History, type Intent } from '../support/history.js';
import { untilQuiet, violations } from '../support/invariants.js';

const PRICE = 250;
const STOCK = 100_000;
/** A run of the quick ones does not wait for gauges, which are measured every five seconds. */
const QUICK = ['I1', 'I2', 'I3', 'I4', 'I5', 'I6', 'I7', 'I8', 'I9', 'I10', 'I11', 'I12', 'I13', 'I14'];
const NOTE = 'ring twice at the green door';

/** The built application in processes that a test may kill, what its clients know, and what must be true of it in the end. */
export class RunningShop {
  readonly apps: AppProcess[] = [];
  readonly history = new History();

  private constructor(
    readonly broker: BrokerName,
    readonly database: FreshDatabase,
    readonly env: Readonly<Record<string, string>>,
  ) {}

  /** @param serverUrl a PostgreSQL of the test's own; otherwise the run's */
  static async open(broker: BrokerName, env: Readonly<Record<string, string>> = {}, serverUrl?: string): Promise<RunningShop> {
    const database = await freshDatabase(serverUrl);
    const shop = new RunningShop(broker, database, {
      ...(broker === 'postgres' ? {} : (await serverOf(broker)).env),
      BROKER: broker,
      BROKER_NAMESPACE: `f${randomUUID().slice(0, 8)}`,
      DATABASE_URL: database.url,
      RETRY_BASE_DELAY_MS: '50',
      RETRY_MAX_DELAY_MS: '200',
      RETRY_MAX_ATTEMPTS: '4',
      HANDLER_TIMEOUT_MS: '5000',
      OUTBOX_LEASE_MS: '2000',
      KAFKA_SESSION_TIMEOUT_MS: '6000',
      SQS_VISIBILITY_TIMEOUT_SECONDS: '4',
      ...env,
    });
    await recordEvents(database);
    await database.query(
      `INSERT INTO stock_item (sku, name, price, currency, on_hand) VALUES ('widget', 'Widget', ${PRICE}, 'EUR', ${STOCK})`,
    );
    shop.history.stock.set('widget', STOCK);
    return shop;
  }

  /** Opens one, and closes it whatever becomes of the work. */
  static async with(
    broker: BrokerName,
    env: Readonly<Record<string, string>>,
    work: (shop: RunningShop) => Promise<void>,
    serverUrl?: string,
  ): Promise<void> {
    const shop = await RunningShop.open(broker, env, serverUrl);
    try {
      await work(shop);
    } finally {
      await shop.close();
    }
  }

  /** One more instance, once it is ready. */
  async start(env: Readonly<Record<string, string>> = {}): Promise<AppProcess> {
    const app = await AppProcess.start({ ...this.env, ...env });
    this.apps.push(app);
    return app;
  }

  /** Starts an instance that dies at this place, gives it orders until it has, and asserts that it died there and of that. */
  async startAndDieAt(failpoint: string, how: 'exit' | 'kill', { token = 'tok_ok', orders = 20, env = {} } = {}): Promise<AppProcess> {
    const victim = await AppProcess.launch({ ...this.env, ...env, FAIL_AT: `${failpoint}:${how}` });
    this.apps.push(victim);
    const dead = victim.ended();
    await victim.ready().catch(() => undefined); // what others have left to it may kill it before
    for (let n = 0; n < orders && !victim.hasEnded; n++) await this.place(victim, token);
    const end = await Promise.race([dead, new Promise((resolve) => setTimeout(() => resolve('it lives'), 30_000).unref())]);
    expect({ end, said: victim.output.includes(`failpoint ${failpoint}\n`) }).toEqual({ end: how === 'kill' ? 'SIGKILL' : 70, said: true });
    return victim;
  }

  /** Places an order; undefined when the client has no answer, or another one than 202. */
  place(app: AppProcess, token = 'tok_ok', quantity = 1): Promise<string | undefined> {
    const intent = this.history.intend({
      customerId: randomUUID(),
      paymentToken: token,
      items: [{ sku: 'widget', quantity }],
      idempotencyKey: randomUUID(),
    });
    return this.ask(app, intent);
  }

  /** Places so many orders at once. */
  async placeMany(app: AppProcess, count: number, token = 'tok_ok'): Promise<void> {
    await Promise.all(Array.from({ length: count }, () => this.place(app, token)));
  }

  async statusOf(app: AppProcess, id: string): Promise<string | undefined> {
    return (await app.get(`/orders/${id}`)).body['status'];
  }

  /** Waits for the end of an order. */
  async ends(app: AppProcess, id: string | undefined, status: string, timeoutMs = 45_000): Promise<void> {
    expect(id).toBeDefined();
    await eventually(async () => expect(await this.statusOf(app, id as string)).toBe(status), { timeoutMs, everyMs: 50 });
  }

  /** After the fault, with everything healed: asks again where there was no answer, waits for quiet, and checks the invariants. */
  async expectHealed(
    app: AppProcess,
    { timeoutMs = 90_000, deadLetters = 0, invariants = QUICK, since = performance.now() } = {},
  ): Promise<void> {
    for (const intent of this.history.intents.values())
      if (!this.history.of('place', intent.customerId).some(({ outcome }) => outcome === 'ok'))
        expect(await this.ask(app, intent)).toBeDefined();
    const observed = {
      database: this.database,
      apps: this.apps.filter(({ hasEnded }) => !hasEnded), // one of them may not know what another one still handles
      history: this.history,
      logs: this.apps.map(({ output }) => output),
      secrets: [NOTE, `:${new URL(this.database.url).password}@`],
    };
    await untilQuiet(observed, { timeoutMs });
    const recovery = { ms: performance.now() - since, backlog: this.history.intents.size };
    expect(await violations({ ...observed, recovery }, [...invariants, 'I16'])).toEqual([]);
    expect(await this.database.query('SELECT id FROM dead_letter')).toHaveLength(deadLetters);
  }

  /** What an instance measures, over all labels. */
  async metric(app: AppProcess, name: string): Promise<number> {
    const text = await (await fetch(`${app.url}/metrics`)).text();
    const values = text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
    return values.reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  }

  async close(): Promise<void> {
    for (const app of this.apps) await app.end('SIGKILL');
    await this.database.drop();
  }

  private async ask(app: AppProcess, { customerId, paymentToken, items, idempotencyKey = '' }: Intent): Promise<string | undefined> {
    const { orderId } = await this.history.record('place', customerId, () =>
      app.post('/orders', { customerId, items, paymentToken, note: NOTE }, { 'idempotency-key': idempotencyKey }),
    );
    return orderId;
  }
}

/**
 * Two instances; the one whose handler is in the middle of a call is killed with -9. The other one must take over what it held, and
 * the call that was made must have its effect once.
 */
export async function killMidHandler(broker: BrokerName): Promise<void> {
  await RunningShop.with(broker, {}, async (shop) => {
    const victim = await shop.start();
    const survivor = await shop.start();
    const charged = async (): Promise<Set<string>> =>
      new Set(
        (await shop.database.query<{ order_id: string }>('SELECT order_id FROM sandbox_ledger_entry')).map(({ order_id }) => order_id),
      );
    const isAt = (app: AppProcess): boolean => app.output.includes('"consumer":"ReserveStockWhenOrderPlaced"');
    await eventually(
      async () => {
        await shop.placeMany(victim, 4, 'tok_slow');
        expect(isAt(victim)).toBe(true);
      },
      { everyMs: 500 },
    );
    await eventually(async () => expect((await charged()).size).toBeGreaterThan(0)); // the gateway is three seconds slow to answer
    expect(await victim.end('SIGKILL')).toBe('SIGKILL');
    const killed = performance.now();
    const [unfinished] = await shop.database.query<{ count: number }>(
      `SELECT count(*)::int FROM sandbox_ledger_entry l WHERE NOT EXISTS (SELECT 1 FROM payment p WHERE p.order_id = l.order_id)`,
    );
    expect(unfinished?.count).toBeGreaterThan(0);
    await shop.expectHealed(survivor, { since: killed });
  });
}
