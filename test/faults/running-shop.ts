import { expect } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { BrokerName } from '../../src/config/config.js';
import { AppProcess } from '../support/app-process.js';
import { serverOf } from '../support/brokers-under-test.js';
import { eventually } from '../support/eventually.js';
import { freshDatabase, type FreshDatabase } from '../support/fresh-database.js';

const PRICE = 250;
const STOCK = 10_000;

/** How an order with a token ends once everything is healed; undefined: with a dead letter, still pending. */
const ENDS: Readonly<Record<string, string | undefined>> = {
  tok_ok: 'confirmed',
  tok_slow: 'confirmed',
  tok_flaky: 'confirmed',
  tok_lost_response: 'confirmed',
  tok_declined: 'cancelled',
  tok_broken: undefined,
};

/** One POST /orders, and what its client knows of it: a lost answer is neither a yes nor a no. */
interface Placed {
  readonly token: string;
  readonly key: string;
  readonly body: object;
  id: string | undefined;
}

/** The built application in processes that a test may kill, the orders it was given, and what must be true of them in the end. */
export class RunningShop {
  readonly apps: AppProcess[] = [];
  readonly placed: Placed[] = [];

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
    await database.query(
      `INSERT INTO stock_item (sku, name, price, currency, on_hand) VALUES ('widget', 'Widget', ${PRICE}, 'EUR', ${STOCK})`,
    );
    return shop;
  }

  /** One more instance, once it is ready. */
  async start(env: Readonly<Record<string, string>> = {}): Promise<AppProcess> {
    const app = await AppProcess.start({ ...this.env, ...env });
    this.apps.push(app);
    return app;
  }

  /** Starts an instance that dies at this place, gives it orders until it has, and asserts that it died there and of that. */
  async startAndDieAt(failpoint: string, how: 'exit' | 'kill', token = 'tok_ok'): Promise<AppProcess> {
    const victim = await AppProcess.launch({ ...this.env, FAIL_AT: `${failpoint}:${how}` });
    this.apps.push(victim);
    const dead = victim.ended();
    await victim.ready().catch(() => undefined); // what others have left to it may kill it before
    for (let n = 0; n < 20 && !victim.hasEnded; n++) await this.place(victim, token);
    const end = await Promise.race([dead, new Promise((resolve) => setTimeout(() => resolve('it lives'), 30_000).unref())]);
    expect({ end, said: victim.output.includes(`failpoint ${failpoint}\n`) }).toEqual({ end: how === 'kill' ? 'SIGKILL' : 70, said: true });
    return victim;
  }

  /** Places an order; undefined when the answer is lost. */
  async place(app: AppProcess, token = 'tok_ok', quantity = 1): Promise<string | undefined> {
    const placed: Placed = {
      token,
      key: randomUUID(),
      body: { customerId: randomUUID(), items: [{ sku: 'widget', quantity }], paymentToken: token },
      id: undefined,
    };
    this.placed.push(placed);
    return this.post(app, placed);
  }

  /** Places so many orders at once. */
  async placeMany(app: AppProcess, count: number, token = 'tok_ok'): Promise<void> {
    await Promise.all(Array.from({ length: count }, () => this.place(app, token)));
  }

  /** After the fault, with everything healed: asks again where an answer was lost, waits for quiet, and checks the invariants. */
  async expectHealed(app: AppProcess, { timeoutMs = 60_000, deadLetters = 0 } = {}): Promise<void> {
    for (const placed of this.placed) if (placed.id === undefined) expect(await this.post(app, placed)).toBeDefined();
    await eventually(() => this.expectQuiet(app), { timeoutMs, everyMs: 100 });
    const orders = await this.database.query<{ id: string; status: string }>('SELECT id, status FROM orders');
    expect(orders.map(({ id }) => id).sort()).toEqual(this.placed.map(({ id }) => id as string).sort()); // I1
    const statusOf = new Map(orders.map(({ id, status }) => [id, status]));
    for (const { id, token } of this.placed) expect([token, statusOf.get(id as string)]).toEqual([token, ENDS[token] ?? 'pending']); // I2
    await this.expectSums();
    const letters = await this.database.query<{ key: string; event_id: string }>('SELECT key, event_id FROM dead_letter');
    expect(letters).toHaveLength(deadLetters); // I9
    for (const { output } of this.apps) expect(output).not.toMatch(/nobody took notice|"level":"fatal"/); // I12
  }

  /** I3: nothing is under way, held or parked any more. */
  async expectQuiet(app: AppProcess): Promise<void> {
    const [rows] = await this.database.query(
      `SELECT (SELECT count(*)::int FROM outbox) AS outbox, (SELECT count(*)::int FROM outbox_held_key) AS held,
              (SELECT count(*)::int FROM outbox_parked) AS stepped_aside, (SELECT count(*)::int FROM parked_event) AS parked`,
    );
    expect(rows).toEqual({ outbox: 0, held: 0, stepped_aside: 0, parked: 0 });
    const groups = await app.all('/ops/groups');
    expect(groups.map(({ lag }) => lag)).toEqual(groups.map(() => 0));
    const [pending] = await this.database.query<{ count: number }>(`SELECT count(*)::int FROM orders WHERE status = 'pending'`);
    expect(pending?.count).toBe(this.placed.filter(({ token }) => ENDS[token] === undefined).length);
  }

  /** I5, I7, I8, I11: money, goods and messages agree, over all orders and for each. */
  private async expectSums(): Promise<void> {
    const [sums] = await this.database.query<Record<string, string>>(
      `SELECT (SELECT coalesce(sum(total), 0) FROM orders WHERE status = 'confirmed') AS confirmed,
              (SELECT coalesce(sum(amount), 0) FROM payment WHERE status = 'captured') AS captured,
              (SELECT coalesce(sum(CASE kind WHEN 'charge' THEN amount ELSE -amount END), 0) FROM sandbox_ledger_entry) AS ledger,
              (SELECT coalesce(sum(i.quantity), 0) FROM orders o JOIN order_item i ON i.order_id = o.id WHERE o.status = 'confirmed') AS sold,
              (SELECT on_hand FROM stock_item WHERE sku = 'widget') AS on_hand`,
    );
    expect({ captured: sums?.['captured'], ledger: sums?.['ledger'] }).toEqual({
      captured: sums?.['confirmed'],
      ledger: sums?.['confirmed'],
    });
    expect(Number(sums?.['on_hand']) + Number(sums?.['sold'])).toBe(STOCK);
    const twice = await this.database.query(
      `SELECT order_id FROM sandbox_ledger_entry WHERE kind = 'charge' GROUP BY order_id HAVING count(*) > 1`,
    );
    expect(twice).toEqual([]);
    const silent = await this.database.query(
      `SELECT id FROM orders o WHERE status <> 'pending' AND (SELECT count(*) FROM notification n WHERE n.order_id = o.id AND n.kind = 'order_' || o.status) <> 1`,
    );
    expect(silent).toEqual([]);
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

  private async post(app: AppProcess, placed: Placed): Promise<string | undefined> {
    try {
      const { status, body } = await app.post('/orders', placed.body, { 'idempotency-key': placed.key });
      if (status === 202) placed.id = body['id'] as string;
    } catch {
      // The answer is lost: the order may exist or not, until somebody asks again with the same key.
    }
    return placed.id;
  }
}
