import type { AppProcess } from './app-process.js';
import { eventually } from './eventually.js';
import { recordsEvents } from './event-record.js';
import type { FreshDatabase } from './fresh-database.js';
import { bounds, type History, type Intent } from './history.js';

/** What the invariants are held against. What is left out is not checked. */
export interface Observed {
  /** With `recordEvents`, else I4, I5, I6, I9 and I14 see less. */
  readonly database: FreshDatabase;
  /** Instances that run now. */
  readonly apps: readonly AppProcess[];
  readonly history?: History;
  /** What every instance has printed, those that have ended included. */
  readonly logs?: readonly string[];
  /** Texts that must appear nowhere: passwords, operator tokens, notes. Payment tokens are looked for in any case. */
  readonly secrets?: readonly string[];
  /** Tokens whose orders end as dead letters; `tok_broken` and `tok_timeout` unless others are named. */
  readonly poison?: RegExp;
  /** After everything was replayed or discarded (I10). */
  readonly noDeadLetters?: boolean;
  /** How long it took from the last fault's end until no group was behind, and how many events there were to see to. */
  readonly recovery?: { readonly ms: number; readonly backlog: number };
  /** Of instances that were idle before the faults, by their number of instances now. */
  readonly footprintBefore?: Footprint;
  /** How long what is measured from time to time may take to become right; 20 s unless named. */
  readonly patienceMs?: number;
}

/** What an instance holds of the machine. */
export interface Footprint {
  readonly descriptors: number;
  readonly rssMb: number;
  /** Connections of all instances to the database. */
  readonly connections: number;
  /** Timers that are set, and sockets that are open, by what Node itself counts. */
  readonly timers: number;
  readonly sockets: number;
}

/** Who in the shop takes what; written down here once more, so that the application cannot change it unseen. */
export const SUBSCRIBERS: Readonly<Record<string, readonly string[]>> = {
  'commerce.order.placed': ['inventory'],
  'commerce.order.confirmed': ['inventory', 'notify'],
  'commerce.order.cancelled': ['inventory', 'payment', 'notify'],
  'commerce.stock.reserved': ['payment'],
  'commerce.stock.rejected': ['order'],
  'commerce.payment.captured': ['order'],
  'commerce.payment.declined': ['order'],
  'commerce.payment.refunded': [],
};
const SUBSCRIBED = Object.entries(SUBSCRIBERS).flatMap(([type, groups]) => groups.map((group) => ({ type, group })));
const POISON = /^tok_(broken|timeout)(_.*)?$/s;
const PAYS = /^tok_(ok|flaky|slow|lost_response)(_.*)?$/s;
/** A payment token in a text, also with a suffix; words of the documentation are not tokens. */
const TOKEN = /tok_(ok|declined|flaky|slow|timeout|lost_response|broken|unheard_of)\w*/;
const SHOWN = 5;
const RECOVERY_MS = 60_000;
const SLOWEST_RATE = 20;
const PATIENCE_MS = 20_000;
/** An instance's pools: the domain's, messaging's, the one that listens, and one for a migration that has just ended. */
const CONNECTIONS_AN_INSTANCE = 10 + 6 + 1 + 1;

type Found = (expected: string, found: string, ids?: readonly unknown[]) => void;
type Check = (observed: Observed, found: Found) => Promise<void> | void;

/** The invariants that can be seen from outside, each with what looks for its violations. */
const INVARIANTS: Readonly<Record<string, Check>> = {
  I1: eachOrderOnce,
  I2: terminalStates,
  I3: outboxEmpty,
  I4: everyGroupHasIt,
  I5: oneEffect,
  I6: orderOfKeys,
  I7: money,
  I8: stock,
  I9: deadLetters,
  I10: noDeadLetters,
  I11: notifications,
  I12: leaks,
  I13: secrets,
  I14: traces,
  I15: metrics,
  I16: recovery,
};

/** Every violated invariant: its name, what was expected, what was found, and whose ids. Empty when all hold. The system must be quiet. */
export async function violations(observed: Observed, only: readonly string[] = Object.keys(INVARIANTS)): Promise<string[]> {
  const all: string[] = [];
  for (const name of only) {
    const check = INVARIANTS[name];
    if (!check) throw new Error(`there is no invariant ${name}`);
    await check(observed, (expected, found, ids = []) => {
      const shown = ids.slice(0, SHOWN).map(String).join(', ');
      all.push(
        `${name}: expected ${expected}, found ${found}${ids.length > 0 ? ` (${shown}${ids.length > SHOWN ? `, and ${ids.length - SHOWN} more` : ''})` : ''}`,
      );
    });
  }
  return all;
}

/** Waits until nothing moves any more, and answers how many milliseconds that took. Rejects with what still moves. */
export async function untilQuiet(observed: Observed, { timeoutMs = 90_000 } = {}): Promise<number> {
  const start = performance.now();
  let unrest: string[] = ['nothing was asked yet'];
  try {
    await eventually(
      async () => {
        unrest = await unrestOf(observed);
        if (unrest.length > 0) throw new Error(unrest.join('; '));
      },
      { timeoutMs, everyMs: 200 },
    );
  } catch (cause) {
    throw new Error(`not quiet within ${timeoutMs / 1000} s: ${unrest.join('; ') || (cause as Error).message}`, { cause });
  }
  return performance.now() - start;
}

/** Waits until the outbox is empty and no group is behind, and answers how many milliseconds that took; retries may go on. */
export async function untilDrained(observed: Observed, { timeoutMs = 90_000 } = {}): Promise<number> {
  const start = performance.now();
  await eventually(
    async () => {
      const backlog = await backlogOf(observed);
      if (backlog.length > 0) throw new Error(`not drained within ${timeoutMs / 1000} s: ${backlog.join('; ')}`);
    },
    { timeoutMs, everyMs: 200 },
  );
  return performance.now() - start;
}

/** What is not quiet, in words. What was published meanwhile counts: between two looks an event can be anywhere. */
export async function unrestOf(observed: Observed): Promise<string[]> {
  const { database } = observed;
  const emitted = async (): Promise<string> =>
    String((await database.query<{ last: string | null }>(`SELECT last_value AS last FROM outbox_id_seq`))[0]?.last);
  const before = await emitted();
  const rows = await database.query<{ what: string; count: number; example: string | null }>(`
    SELECT * FROM (
      SELECT 'parked events with nothing before them but time' AS what, count(*)::int AS count, min(p.group_name || ' ' || p.key || ': ' || p.reason) AS example
        FROM parked_event p WHERE NOT EXISTS (
          SELECT 1 FROM dead_letter d WHERE d.group_name = p.group_name AND d.topic = p.topic AND d.key = p.key AND d.state = 'open' AND d.seq < p.seq)
      UNION ALL SELECT 'dead letters being replayed', count(*)::int, min(id::text) FROM dead_letter WHERE state = 'replaying'
      UNION ALL SELECT 'pending orders without a dead letter', count(*)::int, min(id::text) FROM orders o
        WHERE status = 'pending' AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.key = o.id::text AND d.state IN ('open', 'discarded'))
    ) AS everything WHERE count > 0`);
  const unrest = rows.map(({ what, count, example }) => `${count} ${what}, such as ${example}`);
  unrest.push(...(await backlogOf(observed)));
  if ((await emitted()) !== before) unrest.push('events were published meanwhile');
  return unrest;
}

async function backlogOf({ database, apps }: Observed): Promise<string[]> {
  const [outbox] = await database.query<{ count: number; example: string }>(
    `SELECT count(*)::int AS count, min(topic || ' ' || key) AS example FROM outbox`,
  );
  const backlog = outbox && outbox.count > 0 ? [`${outbox.count} events in the outbox, such as ${outbox.example}`] : [];
  // Each of them: on RabbitMQ an instance knows of what it holds itself, and of nothing that others do.
  const ofEach = await Promise.all(apps.map((app) => app.all('/ops/groups')));
  for (const { group, topic, lag, state } of ofEach.flat())
    if (Number(lag) !== 0 || lag === null) backlog.push(`group ${group} on ${topic} has lag ${lag} (${state})`);
  return [...new Set(backlog)];
}

/** What an instance holds now; undefined where the system does not tell (/proc). */
export async function footprintOf(app: AppProcess, database: FreshDatabase): Promise<Footprint | undefined> {
  const { readdir, readFile } = await import('node:fs/promises');
  try {
    const metrics = await (await fetch(`${app.url}/metrics`)).text();
    const active = (type: string): number =>
      Number(new RegExp(`^nodejs_active_resources\\{type="${type}"\\} (\\d+)`, 'm').exec(metrics)?.[1] ?? 0);
    const [descriptors, status, [row]] = await Promise.all([
      readdir(`/proc/${app.child.pid}/fd`),
      readFile(`/proc/${app.child.pid}/status`, 'utf8'),
      database.query<{ count: number }>(
        `SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'waybill%'`,
      ),
    ]);
    const rssKb = Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]);
    return {
      descriptors: descriptors.length,
      rssMb: Math.round(rssKb / 1024),
      connections: row?.count ?? 0,
      timers: active('Timeout'),
      sockets: active('TCPSocketWrap'),
    };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function eachOrderOnce({ database, history }: Observed, found: Found): Promise<void> {
  if (!history) return;
  const rows = await database.query<{ customer_id: string; ids: string[] }>(
    'SELECT customer_id, array_agg(id::text) AS ids FROM orders GROUP BY customer_id',
  );
  const idsOf = new Map(rows.map(({ customer_id, ids }) => [customer_id, ids]));
  for (const intent of history.intents.values()) {
    const ids = idsOf.get(intent.customerId) ?? [];
    const { least, most } = history.ordersOf(intent);
    if (ids.length < least || ids.length > most)
      found(`${least === most ? least : `${least} to ${most}`} orders of customer ${intent.customerId}`, `${ids.length}`, ids);
    const answered = new Set(history.of('place', intent.customerId).flatMap(({ orderId }) => orderId ?? []));
    const missing = [...answered].filter((id) => !ids.includes(id));
    if (missing.length > 0) found('every order that was answered with 202', 'none in the database', missing);
    if (intent.idempotencyKey !== undefined && answered.size > 1)
      found(`one order for idempotency key ${intent.idempotencyKey}`, `${answered.size} different answers`, [...answered]);
  }
  const strangers = rows.filter(({ customer_id }) => !history.intents.has(customer_id)).flatMap(({ ids }) => ids);
  if (strangers.length > 0) found('no order that nobody has placed', `${strangers.length}`, strangers);
}

interface OrderRow {
  id: string;
  customer_id: string;
  status: string;
  reason: string | null;
  history: string[];
  letter: string | null;
}

async function terminalStates({ database, history }: Observed, found: Found): Promise<void> {
  const orders = await database.query<OrderRow>(`
    SELECT o.id, o.customer_id, o.status, o.reason,
           ARRAY(SELECT h.status FROM order_history h WHERE h.order_id = o.id ORDER BY h.position) AS history,
           (SELECT max(d.state) FROM dead_letter d WHERE d.key = o.id::text AND d.group_name = 'payment' AND d.state IN ('open', 'discarded')) AS letter
    FROM orders o`);
  const legal = ['pending', 'pending confirmed', 'pending cancelled', 'pending confirmed cancelled'];
  const ids = (some: readonly OrderRow[]): string[] => some.map(({ id }) => id);
  const wrong = (expected: string, some: readonly OrderRow[]): void => {
    if (some.length > 0) found(expected, some.map(({ status, reason }) => `${status} ${reason ?? ''}`.trim())[0] as string, ids(some));
  };
  wrong(
    'every order confirmed or cancelled, unless its payment is a dead letter',
    orders.filter(({ status, letter }) => status === 'pending' && letter === null),
  );
  const odd = orders.filter(({ status, history: past }) => !legal.includes(past.join(' ')) || past.at(-1) !== status);
  if (odd.length > 0) found('a history of legal steps that ends with the status', (odd[0] as OrderRow).history.join(' → '), ids(odd));
  if (!history) return;

  const demand = new Map<string, number>();
  for (const { items } of history.intents.values())
    for (const { sku, quantity } of items) demand.set(sku, (demand.get(sku) ?? 0) + quantity);
  const canRunOut = ({ items }: Intent): boolean => items.some(({ sku }) => (demand.get(sku) ?? 0) > (history.stock.get(sku) ?? 0));
  for (const order of orders) {
    const intent = history.intents.get(order.customer_id);
    if (!intent) continue;
    const cancels = bounds(history.of('cancel', order.id));
    const mends = history.of('mend', order.id).filter(({ outcome }) => outcome !== 'fail');
    const tokens = [intent.paymentToken, ...mends.flatMap(({ paymentToken }) => paymentToken ?? [])];
    const was = `${order.status} ${order.reason ?? ''}`.trim();
    if (cancels.least > 0 && order.status !== 'cancelled')
      found('an order whose cancel was answered with 202 to end cancelled', was, [order.id]);
    if (order.reason === 'requested' && cancels.most === 0) found('no cancel that nobody has requested', was, [order.id]);
    if (order.reason === 'out_of_stock' && !canRunOut(intent)) found('enough stock', was, [order.id]);
    if (order.history.includes('confirmed') && !tokens.some((token) => PAYS.test(token)))
      found('no confirmation of what cannot be paid', was, [order.id]);
    if (order.reason === 'payment_declined' && tokens.every((token) => PAYS.test(token)))
      found('a payment that does not fail to be taken', was, [order.id]);
  }
}

async function outboxEmpty({ database, patienceMs }: Observed, found: Found): Promise<void> {
  const left = await database.query<{ id: string }>('SELECT id FROM outbox ORDER BY id');
  if (left.length > 0)
    found(
      'an empty outbox',
      `${left.length} rows`,
      left.map(({ id }) => id),
    );
  const parked = await database.query<{ id: string }>(`SELECT id FROM outbox_parked WHERE trim(reason) = ''`);
  if (parked.length > 0)
    found(
      'a reason for every parked row',
      'none',
      parked.map(({ id }) => id),
    );
  // A lease that has run out and is being taken over is no violation: it must be gone a moment later.
  await settles(
    patienceMs,
    () =>
      database.query<{ lease: string }>(`
        SELECT pool || '/' || lane AS lease FROM lane_lease WHERE owner IS NOT NULL AND leased_until < now() - interval '1 second'
        UNION ALL SELECT group_name || '/' || key FROM parked_key WHERE leased_until < now() - interval '1 second'`),
    (leases) =>
      found(
        'no lease that has run out and is still held',
        `${leases.length}`,
        leases.map(({ lease }) => lease),
      ),
  );
}

async function everyGroupHasIt({ database }: Observed, found: Found): Promise<void> {
  if (!(await recordsEvents(database))) return;
  const missing = await database.query<{ what: string }>(
    `SELECT s.group_name || ' ' || p.type || ' ' || p.event_id AS what
     FROM observed.published p JOIN unnest($1::text[], $2::text[]) AS s(type, group_name) ON s.type = p.type
     WHERE NOT EXISTS (SELECT 1 FROM inbox i WHERE i.group_name = s.group_name AND i.event_id = p.event_id)
       AND NOT EXISTS (SELECT 1 FROM parked_event e WHERE e.group_name = s.group_name AND e.event_id = p.event_id)
       AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.group_name = s.group_name AND d.event_id = p.event_id)
       AND NOT EXISTS (SELECT 1 FROM outbox_parked o WHERE o.event_id = p.event_id)
     ORDER BY p.n`,
    [SUBSCRIBED.map(({ type }) => type), SUBSCRIBED.map(({ group }) => group)],
  );
  if (missing.length > 0)
    found(
      'each published event with each of its groups',
      `${missing.length} missing`,
      missing.map(({ what }) => what),
    );
}

async function oneEffect({ database }: Observed, found: Found): Promise<void> {
  const many = async (expected: string, sql: string, values: unknown[] = []): Promise<void> => {
    const rows = await database.query<{ what: string; count: number }>(sql, values);
    if (rows.length > 0)
      found(
        expected,
        `${rows[0]?.count}`,
        rows.map(({ what }) => what),
      );
  };
  await many(
    'one charge for each idempotency key of the gateway',
    `SELECT idempotency_key AS what, count(*)::int AS count FROM sandbox_ledger_entry WHERE kind = 'charge' GROUP BY 1 HAVING count(*) > 1`,
  );
  await many(
    'one charge for each order',
    `SELECT order_id::text AS what, count(*)::int AS count FROM sandbox_ledger_entry WHERE kind = 'charge' GROUP BY 1 HAVING count(*) > 1`,
  );
  await many(
    'one refund at most for each charge',
    `SELECT order_id::text AS what, count(*)::int AS count FROM sandbox_ledger_entry WHERE kind = 'refund' GROUP BY order_id, reference HAVING count(*) > 1`,
  );
  await many(
    'each status of an order once',
    `SELECT order_id::text AS what, count(*)::int AS count FROM order_history GROUP BY order_id, status HAVING count(*) > 1`,
  );
  if (!(await recordsEvents(database))) return;
  await many(
    'each step of an order said once',
    `SELECT type || ' ' || key AS what, count(*)::int AS count FROM observed.published WHERE type = ANY($1) GROUP BY type, key HAVING count(*) > 1`,
    [Object.keys(SUBSCRIBERS)],
  );
  await many(
    'each event handled once by each group',
    `SELECT group_name || ' ' || event_id AS what, count(*)::int AS count FROM observed.handled GROUP BY group_name, event_id HAVING count(*) > 1`,
  );
}

async function orderOfKeys({ database }: Observed, found: Found): Promise<void> {
  if (!(await recordsEvents(database))) return;
  const inversions = await database.query<{ what: string }>(`
    SELECT group_name || ' ' || key || ': ' || type || ' before ' || earlier AS what FROM (
      SELECT h.group_name, p.key, p.type, p.n, max(p.n) OVER before AS latest,
             last_value(p.type) OVER before AS earlier, h.n AS seen
      FROM observed.handled h JOIN observed.published p USING (event_id)
      WINDOW before AS (PARTITION BY h.group_name, p.topic, p.key ORDER BY h.n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    ) AS seen WHERE latest > n ORDER BY seen`);
  if (inversions.length > 0)
    found(
      'each group to see the events of a key in the order of their commits',
      `${inversions.length} inversions`,
      inversions.map(({ what }) => what),
    );
  const ids = await database.query<{ key: string }>(`
    SELECT key FROM (SELECT key, id, lag(id) OVER (PARTITION BY topic, key ORDER BY n) AS former FROM observed.published) AS rows WHERE id < former`);
  if (ids.length > 0)
    found(
      "the outbox's ids of a key in the order of its commits",
      `${ids.length} that are not`,
      ids.map(({ key }) => key),
    );
}

async function money({ database }: Observed, found: Found): Promise<void> {
  const [sums] = await database.query<{ confirmed: string; kept: string; ledger: string }>(`
    SELECT (SELECT coalesce(sum(total), 0) FROM orders WHERE status = 'confirmed') AS confirmed,
           (SELECT coalesce(sum(amount), 0) FROM payment WHERE status = 'captured') AS kept,
           (SELECT coalesce(sum(CASE kind WHEN 'charge' THEN amount ELSE -amount END), 0) FROM sandbox_ledger_entry l
            WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.id = l.order_id AND o.status = 'pending')) AS ledger`);
  if (sums && (sums.kept !== sums.confirmed || sums.ledger !== sums.confirmed))
    found(`${sums.confirmed} kept, the sum of confirmed orders`, `${sums.kept} captured and ${sums.ledger} in the gateway's ledger`);
  const wrong = await database.query<{ id: string; what: string }>(`
    SELECT o.id, o.status || ', payment ' || coalesce(p.status, 'none') || ', in the ledger ' || coalesce(l.kept, 0) || ' of ' || o.total AS what
    FROM orders o LEFT JOIN payment p ON p.order_id = o.id
    LEFT JOIN (SELECT order_id, sum(CASE kind WHEN 'charge' THEN amount ELSE -amount END) AS kept FROM sandbox_ledger_entry GROUP BY 1) l ON l.order_id = o.id
    WHERE (o.status = 'confirmed' AND NOT (coalesce(p.status, '') = 'captured' AND p.amount = o.total AND coalesce(l.kept, 0) = o.total))
       OR (o.status = 'cancelled' AND (coalesce(p.status, '') = 'captured' OR coalesce(l.kept, 0) <> 0))
       OR (o.reason = 'out_of_stock' AND l.order_id IS NOT NULL) ORDER BY 1`);
  if (wrong.length > 0)
    found(
      'money kept for confirmed orders only, all of it',
      wrong[0]?.what ?? '',
      wrong.map(({ id }) => id),
    );
}

async function stock({ database, history }: Observed, found: Found): Promise<void> {
  const items = await database.query<{ sku: string; on_hand: string; reserved: string; sold: string; held: string }>(`
    SELECT s.sku, s.on_hand, s.reserved,
           coalesce((SELECT sum(i.quantity) FROM order_item i JOIN orders o ON o.id = i.order_id WHERE i.sku = s.sku AND o.status = 'confirmed'), 0) AS sold,
           coalesce((SELECT sum(l.quantity) FROM reservation_line l JOIN reservation r USING (order_id) JOIN orders o ON o.id = l.order_id
                     WHERE l.sku = s.sku AND r.state = 'reserved' AND o.status = 'pending'), 0) AS held
    FROM stock_item s ORDER BY s.sku`);
  for (const { sku, on_hand: onHand, reserved, sold, held } of items) {
    if (Number(onHand) < 0 || Number(reserved) < 0 || Number(reserved) > Number(onHand))
      found(`stock of ${sku} that can be`, `${onHand} on hand, ${reserved} reserved`);
    if (reserved !== held) found(`${held} of ${sku} reserved, for orders that are pending`, reserved);
    const initial = history?.stock.get(sku);
    if (initial !== undefined && initial !== Number(onHand) + Number(sold))
      found(`${initial} of ${sku} on hand or sold, as at the beginning`, `${onHand} on hand and ${sold} sold`);
  }
  const states = await database.query<{ id: string; what: string }>(`
    SELECT o.id, o.status || ' with a reservation that is ' || coalesce(r.state, 'missing') AS what
    FROM orders o LEFT JOIN reservation r ON r.order_id = o.id
    WHERE (o.status, coalesce(r.state, '')) NOT IN (('pending', 'reserved'), ('confirmed', 'committed'), ('cancelled', 'released'), ('cancelled', 'returned'), ('cancelled', 'rejected'))`);
  if (states.length > 0)
    found(
      'a reservation that is as its order is',
      states[0]?.what ?? '',
      states.map(({ id }) => id),
    );
}

async function deadLetters({ database, history, poison = POISON }: Observed, found: Found): Promise<void> {
  if (!history) return;
  const letters = await database.query<{
    id: string;
    group_name: string;
    type: string;
    key: string;
    customer_id: string | null;
    error: string;
  }>(`
    SELECT d.id, d.group_name, d.type, d.key, o.customer_id, d.error FROM dead_letter d LEFT JOIN orders o ON o.id::text = d.key`);
  for (const { id, group_name: group, type, key, customer_id: customer, error } of letters) {
    const token = history.intents.get(customer ?? '')?.paymentToken ?? '';
    if (group !== 'payment' || type !== 'commerce.stock.reserved' || !poison.test(token))
      found('dead letters of planted poison only', `one of ${group}, ${type}, key ${key}: ${error.slice(0, 200)}`, [id]);
  }
  if (!(await recordsEvents(database))) return;
  const changed = await database.query<{ id: string }>(`
    SELECT d.id FROM dead_letter d LEFT JOIN observed.published p USING (event_id)
    WHERE p.event_id IS NULL OR p.payload <> d.payload OR NOT d.headers::jsonb @> p.headers`);
  if (changed.length > 0)
    found(
      'dead letters with their original bytes and headers',
      `${changed.length} that differ`,
      changed.map(({ id }) => id),
    );
}

async function noDeadLetters({ database, noDeadLetters: expected }: Observed, found: Found): Promise<void> {
  if (expected !== true) return;
  const open = await database.query<{ id: string }>(`SELECT id FROM dead_letter WHERE state IN ('open', 'replaying')`);
  if (open.length > 0)
    found(
      'no open dead letter after the replays',
      `${open.length}`,
      open.map(({ id }) => id),
    );
}

async function notifications({ database }: Observed, found: Found): Promise<void> {
  const wrong = await database.query<{ id: string; what: string }>(`
    SELECT o.id, h.status || ' and told ' || count(n.id) || ' times' AS what
    FROM orders o JOIN order_history h ON h.order_id = o.id AND h.status <> 'pending'
    LEFT JOIN notification n ON n.order_id = o.id AND n.kind = 'order_' || h.status
    GROUP BY o.id, h.status, n.channel HAVING count(n.id) <> 1
    UNION ALL
    SELECT n.order_id, 'told ' || n.kind || ' and never so' FROM notification n
    WHERE NOT EXISTS (SELECT 1 FROM order_history h WHERE h.order_id = n.order_id AND n.kind = 'order_' || h.status)`);
  if (wrong.length > 0)
    found(
      'the customer to be told of each end of an order, once',
      wrong[0]?.what ?? '',
      wrong.map(({ id }) => id),
    );
}

async function leaks({ database, apps, logs, footprintBefore, patienceMs }: Observed, found: Found): Promise<void> {
  const allLogs = logs ?? apps.map(({ output }) => output);
  const rejections = allLogs.flatMap(
    (log) =>
      /^.*(nobody took notice|unhandled ?rejection|uncaught|MaxListenersExceeded|ERR_UNHANDLED).*$/im.exec(log)?.[0]?.slice(0, 400) ?? [],
  );
  if (rejections.length > 0) found('no unhandled rejection in the logs', rejections[0] as string);
  await settles(
    patienceMs,
    async () => {
      const problems: string[] = [];
      const [app] = apps;
      const now = app && (await footprintOf(app, database));
      if (!now) return problems;
      const most = apps.length * CONNECTIONS_AN_INSTANCE;
      if (now.connections > most) problems.push(`at most ${most} connections to the database|${now.connections}`);
      if (!footprintBefore) return problems;
      if (now.descriptors > footprintBefore.descriptors + 25)
        problems.push(`about ${footprintBefore.descriptors} descriptors, as before the faults|${now.descriptors}`);
      for (const kind of ['timers', 'sockets'] as const)
        if (now[kind] > footprintBefore[kind] + 15)
          problems.push(`about ${footprintBefore[kind]} ${kind}, as before the faults|${now[kind]}`);
      if (now.rssMb > footprintBefore.rssMb * 2 + 100)
        problems.push(`about ${footprintBefore.rssMb} MB of memory, as before the faults|${now.rssMb}`);
      return problems;
    },
    (problems) => {
      for (const problem of problems) found(...(problem.split('|') as [string, string]));
    },
  );
}

async function secrets({ apps, logs, history, secrets: planted = [] }: Observed, found: Found): Promise<void> {
  const scrapes = await Promise.all(apps.map(async (app) => (await fetch(`${app.url}/metrics`)).text()));
  const places: Record<string, readonly string[]> = {
    logs: logs ?? apps.map(({ output }) => output),
    metrics: scrapes,
    'problem documents': history?.problems ?? [],
  };
  for (const [place, texts] of Object.entries(places)) {
    for (const text of texts) {
      const token = TOKEN.exec(text);
      if (token) found(`no payment token in the ${place}`, around(text, token.index, token[0].length, token[0]));
      for (const [n, secret] of planted.entries()) {
        const at = text.indexOf(secret);
        if (at >= 0) found(`no planted secret in the ${place}`, around(text, at, secret.length, `number ${n}`));
      }
    }
  }
}

async function traces({ database, apps, history, logs }: Observed, found: Found): Promise<void> {
  if (!(await recordsEvents(database))) return;
  const headers = `coalesce(headers ->> 'ce_traceparent', '') AS trace, headers ->> 'ce_correlationid' AS correlation, headers ->> 'ce_causationid' AS cause`;
  const events = await database.query<{
    id: string;
    type: string;
    customer: string | null;
    trace: string;
    correlation: string;
    cause: string | null;
  }>(
    `SELECT event_id AS id, type, ${headers}, convert_from(payload, 'UTF8')::jsonb ->> 'customerId' AS customer FROM observed.published
     WHERE type = ANY($1)
     UNION ALL
     SELECT (edited_headers::jsonb ->> 'ce_id')::uuid, type, ${headers.replaceAll('headers ->>', 'edited_headers::jsonb ->>')}, NULL
     FROM dead_letter WHERE edited_headers IS NOT NULL`,
    [Object.keys(SUBSCRIBERS)],
  );
  const byId = new Map(events.map((event) => [event.id, event]));
  const strays = events.filter(({ type, cause, correlation, trace }) => {
    if (cause === null) return type !== 'commerce.order.placed' && type !== 'commerce.order.cancelled';
    const origin = byId.get(cause);
    return !origin || origin.correlation !== correlation || traceIdOf(origin.trace) !== traceIdOf(trace);
  });
  if (strays.length > 0)
    found(
      'each event with the correlation id and the trace of what caused it',
      `${strays.length} without`,
      strays.map(({ type, id }) => `${type} ${id}`),
    );
  const lines = linesAboutEvents(logs ?? apps.map(({ output }) => output));
  const astray = lines.filter(({ eventId, correlationId, traceId }) => {
    const event = byId.get(eventId);
    return event && (correlationId !== event.correlation || (traceId ?? '') !== traceIdOf(event.trace));
  });
  if (astray.length > 0)
    found(
      "each line of the log that names an event with the event's correlation id and trace",
      `${astray.length} without, of ${lines.length}`,
      astray.map(({ msg, eventId }) => `"${msg}" ${eventId}`),
    );
  if (!history) return;
  const foreign = events.filter(({ type, customer, trace }) => {
    const traceId = history.intents.get(customer ?? '')?.traceId;
    return type === 'commerce.order.placed' && traceId !== undefined && traceIdOf(trace) !== traceId;
  });
  if (foreign.length > 0)
    found(
      "each order's first event with the trace of its request",
      `${foreign.length} without`,
      foreign.map(({ id }) => id),
    );
}

interface LineAboutEvent {
  readonly msg: string;
  readonly eventId: string;
  readonly correlationId?: string;
  readonly traceId?: string;
}

/** The lines that name one; those that a killed process has not written to their end are none. */
function linesAboutEvents(logs: readonly string[]): LineAboutEvent[] {
  return logs.flatMap((log) =>
    log.split('\n').flatMap((line) => {
      if (!line.startsWith('{') || !line.endsWith('}') || !line.includes('"eventId"')) return [];
      return [JSON.parse(line) as LineAboutEvent];
    }),
  );
}

async function metrics({ database, apps, patienceMs }: Observed, found: Found): Promise<void> {
  // The gauges are measured every few seconds; what they say must become what the tables say.
  await settles(
    patienceMs,
    async () => {
      const wrong: string[] = [];
      const [tables] = await database.query<{ backlog: number; blocked: number; parked: number; letters: number }>(`
        SELECT (SELECT count(*)::int FROM outbox) AS backlog, (SELECT count(*)::int FROM outbox_held_key) AS blocked,
               (SELECT count(*)::int FROM parked_event) AS parked, (SELECT count(*)::int FROM dead_letter WHERE state = 'open') AS letters`);
      for (const app of apps) {
        const text = await (await fetch(`${app.url}/metrics`)).text();
        const sum = (name: string): number =>
          [...text.matchAll(new RegExp(`^waybill_${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))].reduce(
            (total, [, value]) => total + Number(value),
            0,
          );
        const gauges = {
          backlog: sum('outbox_backlog'),
          blocked: sum('outbox_blocked_keys'),
          parked: sum('parked'),
          letters: sum('dead_letters'),
        };
        if (JSON.stringify(gauges) !== JSON.stringify(tables)) wrong.push(`${JSON.stringify(tables)}|${JSON.stringify(gauges)}`);
      }
      return wrong;
    },
    (wrong) => {
      for (const one of wrong) found(...(one.split('|') as [string, string]));
    },
  );
}

function recovery({ recovery: took }: Observed, found: Found): void {
  if (!took) return;
  const limit = RECOVERY_MS + (took.backlog / SLOWEST_RATE) * 1000;
  if (took.ms > limit)
    found(
      `to be quiet within ${Math.round(limit / 1000)} s after the last fault, with a backlog of ${took.backlog}`,
      `${Math.round(took.ms / 1000)} s`,
    );
}

/** Gives what is measured from time to time a little while to become right; tells what is still wrong then. */
async function settles<T>(
  patienceMs: number | undefined,
  look: () => Promise<readonly T[]>,
  tell: (wrong: readonly T[]) => void,
): Promise<void> {
  let wrong: readonly T[] = [];
  await eventually(
    async () => {
      wrong = await look();
      if (wrong.length > 0) throw new Error('not yet');
    },
    { timeoutMs: patienceMs ?? PATIENCE_MS, everyMs: 500 },
  ).catch((error: Error) => {
    if (error.message !== 'not yet') throw error;
    tell(wrong);
  });
}

function traceIdOf(traceparent: string): string {
  return traceparent.split('-')[1] ?? '';
}

/** Where in a text something was found, without repeating it. */
function around(text: string, at: number, length: number, name: string): string {
  return `${name} in "${text.slice(Math.max(0, at - 120), at)}…${text.slice(at + length, at + length + 60)}"`.replaceAll('\n', ' ');
}
