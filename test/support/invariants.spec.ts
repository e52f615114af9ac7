import { randomUUID } from 'node:crypto';
import { AppProcess } from './app-process.js';
import { stopServers } from './brokers-under-test.js';
import { eventually } from './eventually.js';
import { recordEvents } from './event-record.js';
import { freshDatabase, type FreshDatabase } from './fresh-database.js';
import { History } from './history.js';
import { footprintOf, unrestOf, untilQuiet, violations, type Observed } from './invariants.js';

const NOTE = 'leave it with the neighbour at number 9';

/** The checker, checked: nothing is wrong after a quiet life, and each wrong that is planted is found by its name. */
describe('the invariants', () => {
  let database: FreshDatabase;
  let app: AppProcess;
  let observed: Observed;
  const history = new History();

  const place = async (paymentToken: string, quantity: number): Promise<string> => {
    const [traceId, idempotencyKey] = [randomUUID().replaceAll('-', ''), randomUUID()];
    const intent = history.intend({
      customerId: randomUUID(),
      paymentToken,
      items: [{ sku: 'widget', quantity }],
      idempotencyKey,
      traceId,
    });
    const { customerId, items } = intent;
    const placed = await history.record('place', customerId, () =>
      app.post(
        '/orders',
        { customerId, items, paymentToken, note: NOTE },
        { 'idempotency-key': idempotencyKey, traceparent: `00-${traceId}-0123456789abcdef-01` },
      ),
    );
    return placed.orderId as string;
  };

  beforeAll(async () => {
    database = await freshDatabase();
    await recordEvents(database);
    app = await AppProcess.start({
      BROKER: 'postgres',
      DATABASE_URL: database.url,
      RETRY_BASE_DELAY_MS: '20',
      RETRY_MAX_DELAY_MS: '40',
      RETRY_MAX_ATTEMPTS: '4',
    });
    const before = await footprintOf(app, database);
    if (process.platform === 'linux') expect(Math.min(...Object.values(before ?? {}))).toBeGreaterThan(0); // each is really counted
    history.stock.set('widget', 10);
    await app.call('PUT', '/inventory/widget', { name: 'Widget', price: { amount: 250, currency: 'EUR' }, onHand: 10 });
    observed = { database, apps: [app], history, secrets: [NOTE], patienceMs: 1000, ...(before && { footprintBefore: before }) };

    const [confirmed, cancelled, broken] = [await place('tok_ok', 1), await place('tok_ok', 2), await place('tok_broken', 1)];
    await place('tok_declined', 1);
    await place('tok_ok', 100);
    await place('tok_flaky_9', 1);
    await eventually(async () => expect((await app.get(`/orders/${cancelled}`)).body['status']).toBe('confirmed'));
    await history.record('cancel', cancelled, () => app.post(`/orders/${cancelled}/cancel`));
    await eventually(async () => expect(await app.all(`/ops/dead-letters?key=${broken}`)).toHaveLength(1));
    expect(confirmed).not.toBe(cancelled);
    await untilQuiet(observed);
  });
  afterAll(async () => {
    await app?.end('SIGKILL');
    await database?.drop();
    await stopServers();
  });

  it('hold in a quiet life', async () => {
    expect(history.summary()).toEqual({ place: { ok: 6, fail: 0, unknown: 0 }, cancel: { ok: 1, fail: 0, unknown: 0 } });
    expect(await violations({ ...observed, patienceMs: 20_000 })).toEqual([]);
  });

  it('I14 finds lines of the log that do not belong to the story of their event', async () => {
    const written = observed.apps.flatMap(({ output }) => output.split('\n')).filter((line) => /"eventId".*"handled"/.test(line));
    expect(written.length).toBeGreaterThan(0);
    expect(await violations({ ...observed, logs: written }, ['I14'])).toEqual([]);
    for (const name of ['traceId', 'correlationId'])
      expect(await violations({ ...observed, logs: [written[0]?.replace(`"${name}"`, '"other"') as string] }, ['I14'])).toEqual([
        expect.stringMatching(/^I14: expected each line of the log .*, found 1 without, of 1 \("handled" /),
      ]);
  });

  const CONFIRMED = `(SELECT id FROM orders WHERE status = 'confirmed' ORDER BY id LIMIT 1)`;
  const CHARGE = `(SELECT min(id) FROM sandbox_ledger_entry WHERE kind = 'charge')`;

  /** Each wrong is made in a transaction's stead by one statement, and undone by another. */
  it.each([
    [
      'I1',
      'an order that nobody placed',
      `INSERT INTO orders SELECT gen_random_uuid(), gen_random_uuid(), status, reason, 0, currency, note, created_at FROM orders WHERE status = 'cancelled' AND reason = 'out_of_stock'`,
      'DELETE FROM orders WHERE total = 0',
    ],
    [
      'I1',
      'a second order for a key',
      `INSERT INTO orders SELECT gen_random_uuid(), customer_id, status, reason, 0, currency, note, created_at FROM orders WHERE status = 'cancelled' AND reason = 'out_of_stock'`,
      'DELETE FROM orders WHERE total = 0',
    ],
    [
      'I2',
      'an order that stays pending',
      `UPDATE orders SET status = 'pending' WHERE id = ${CONFIRMED}`,
      `UPDATE orders SET status = 'confirmed' WHERE status = 'pending' AND reason IS NULL AND id NOT IN (SELECT key::uuid FROM dead_letter)`,
    ],
    [
      'I2',
      'a cancel that nobody asked for',
      `UPDATE orders SET reason = 'requested' WHERE reason = 'out_of_stock'`,
      `UPDATE orders SET reason = 'out_of_stock' WHERE reason = 'requested' AND id NOT IN (SELECT order_id FROM payment)`,
    ],
    [
      'I3',
      'a lease that nobody renews',
      `INSERT INTO lane_lease VALUES ('elsewhere', 0, 'nobody', 1, now() - interval '1 hour')`,
      `DELETE FROM lane_lease WHERE pool = 'elsewhere'`,
    ],
    [
      'I4',
      'an event that a group has not seen',
      `UPDATE inbox SET group_name = 'notify?' WHERE group_name = 'notify'`,
      `UPDATE inbox SET group_name = 'notify' WHERE group_name = 'notify?'`,
    ],
    [
      'I5',
      'a second charge',
      `INSERT INTO sandbox_ledger_entry SELECT -1, idempotency_key || ' again', order_id, reference, kind, amount, currency, at FROM sandbox_ledger_entry WHERE id = ${CHARGE}`,
      'DELETE FROM sandbox_ledger_entry WHERE id = -1',
    ],
    [
      'I5',
      'an event said twice',
      `INSERT INTO observed.published SELECT 0, lane, id, gen_random_uuid(), topic, type, key, headers, payload, at FROM observed.published WHERE type = 'commerce.payment.refunded'`,
      'DELETE FROM observed.published WHERE n = 0',
    ],
    [
      'I6',
      'a group that saw a later event first',
      `UPDATE observed.handled h SET n = -h.n FROM observed.published p WHERE p.event_id = h.event_id AND h.group_name = 'inventory' AND p.type = 'commerce.order.cancelled'`,
      'UPDATE observed.handled SET n = -n WHERE n < 0',
    ],
    [
      'I7',
      'money kept for a cancelled order',
      `UPDATE sandbox_ledger_entry SET amount = amount - 1 WHERE kind = 'refund'`,
      `UPDATE sandbox_ledger_entry SET amount = amount + 1 WHERE kind = 'refund'`,
    ],
    [
      'I7',
      'a confirmed order without its money',
      `UPDATE payment SET status = 'declined' WHERE order_id = ${CONFIRMED}`,
      `UPDATE payment SET status = 'captured' WHERE order_id = ${CONFIRMED}`,
    ],
    [
      'I8',
      'stock that went',
      `UPDATE stock_item SET on_hand = on_hand - 1 WHERE sku = 'widget'`,
      `UPDATE stock_item SET on_hand = on_hand + 1 WHERE sku = 'widget'`,
    ],
    [
      'I8',
      'a reservation left behind',
      `UPDATE reservation SET state = 'reserved' WHERE order_id = ${CONFIRMED}`,
      `UPDATE reservation SET state = 'committed' WHERE order_id = ${CONFIRMED}`,
    ],
    [
      'I9',
      'a dead letter of a good event',
      `UPDATE dead_letter SET group_name = 'notify'`,
      `UPDATE dead_letter SET group_name = 'payment'`,
    ],
    [
      'I9',
      'a dead letter with other bytes',
      `UPDATE dead_letter SET payload = payload || ' '::bytea`,
      'UPDATE dead_letter SET payload = substring(payload FOR length(payload) - 1)',
    ],
    [
      'I11',
      'a customer who was not told',
      `UPDATE notification SET kind = 'order_lost' WHERE kind = 'order_confirmed'`,
      `UPDATE notification SET kind = 'order_confirmed' WHERE kind = 'order_lost'`,
    ],
    [
      'I14',
      'a trace that breaks off',
      `UPDATE observed.published SET headers = jsonb_set(headers, '{ce_traceparent}', '"00-1-2-01"') WHERE type = 'commerce.payment.captured'`,
      '',
    ],
  ])('%s finds %s', async (name, _what, wrong, undo) => {
    await database.query(wrong);
    try {
      const found = await violations(observed, [name]);
      expect(found.length).toBeGreaterThan(0);
      for (const violation of found) expect(violation).toMatch(new RegExp(`^${name}: expected .+, found .+`));
    } finally {
      if (undo !== '') await database.query(undo);
    }
    if (undo !== '') expect(await violations(observed, [name])).toEqual([]);
  });

  it('finds what is not in a table', async () => {
    const found = await violations(
      {
        ...observed,
        logs: ['{"level":"fatal","msg":"a promise was rejected and nobody took notice"}', 'paid with tok_ok_7', `said: ${NOTE}`],
        noDeadLetters: true,
        recovery: { ms: 70_000, backlog: 20 },
        footprintBefore: { descriptors: -100, rssMb: -100, connections: 0, timers: -100, sockets: -100 },
      },
      ['I10', 'I12', 'I13', 'I16'],
    );
    const named = (name: string): string[] => found.filter((violation) => violation.startsWith(`${name}:`));
    expect(named('I10')).toHaveLength(1);
    for (const what of [/unhandled rejection/, ...(process.platform === 'linux' ? [/descriptors/, /memory/, /timers/, /sockets/] : [])])
      expect(named('I12').join('\n')).toMatch(what);
    expect(named('I13')).toHaveLength(2);
    expect(named('I16')).toHaveLength(1);
    expect(found.join(' ')).not.toContain(NOTE);
  });

  it('I15 finds gauges that are not what the tables say', async () => {
    await database.query(`INSERT INTO outbox_held_key VALUES ('commerce.nothing', 'nobody', 0, 1, now() + interval '1 day', 'none')`);
    expect(await violations({ ...observed, patienceMs: 20_000 }, ['I15'])).toEqual([]); // the gauge follows
    await database.query(`DELETE FROM outbox_held_key`);
    expect(await violations({ ...observed, patienceMs: 0 }, ['I15'])).toEqual([
      expect.stringMatching(/^I15: expected .*"blocked":0.*, found .*"blocked":1/),
    ]);
  });

  it('an order that only its client does not know of is within the bounds', async () => {
    const unknown = new History();
    for (const [customer, intent] of history.intents) unknown.intents.set(customer, intent);
    unknown.operations.push(...history.operations.map((operation) => ({ ...operation, outcome: 'unknown' as const })));
    expect(await violations({ ...observed, history: unknown }, ['I1'])).toEqual([]);
    unknown.operations.splice(0, 1, { ...(unknown.operations[0] as (typeof unknown.operations)[number]), outcome: 'fail' });
    expect(await violations({ ...observed, history: unknown }, ['I1'])).toEqual([expect.stringMatching(/^I1: expected 0 orders/)]);
  });

  it('says what is not quiet', async () => {
    await database.query(`UPDATE orders SET status = 'pending' WHERE id = ${CONFIRMED}`);
    await expect(untilQuiet(observed, { timeoutMs: 1000 })).rejects.toThrow(
      /not quiet within 1 s: 1 pending orders without a dead letter, such as [0-9a-f-]{36}/,
    );
    await database.query(
      `UPDATE orders SET status = 'confirmed' WHERE status = 'pending' AND id NOT IN (SELECT key::uuid FROM dead_letter)`,
    );
    expect(await unrestOf(observed)).toEqual([]);
  });
});
