// @ts-check
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { build } from '../build.mjs';
import { freePort } from '../lib/ports.mjs';
import { progress } from '../lib/progress.mjs';
import { availability, useOrStart } from '../servers/index.mjs';
import { startApp } from './demo-app.mjs';
import { stories } from './demo-orders.mjs';
import { eventLine, heading, money, table } from './demo-print.mjs';

const BROKERS = ['postgres', 'kafka', 'rabbitmq', 'sqs'];
const SKU = 'coffee-1kg';
const SETTLE_MS = 60_000;

/**
 * Runs the demonstration; answers the exit code: 0 only if every order ended as it should and the sums agree.
 * @param {string[]} args
 */
export async function runDemo(args) {
  const { values } = parseArgs({
    args,
    options: { broker: { type: 'string', default: 'postgres' }, keep: { type: 'boolean', default: false } },
  });
  const broker = values.broker;
  if (!BROKERS.includes(broker)) throw new Error(`--broker ${broker}: choose one of ${BROKERS.join(', ')}`);
  if (broker !== 'postgres') {
    const { available, reason, cure } = await availability(/** @type {any} */ (broker));
    if (!available) throw new Error(`There is no ${broker} server to use: ${reason}\nThe cure: ${cure}`);
  }

  await build();
  const started = Date.now();
  /** @type {import("../servers/index.mjs").Server[]} */
  const servers = [];
  /** @type {import('./demo-app.mjs').App | undefined} */
  let app;
  const cleanUp = async () => {
    await app?.stop();
    for (const server of servers) await server.dispose();
  };
  try {
    for (const name of new Set(['postgres', broker])) {
      const line = progress(`starting ${name}`);
      const server = await useOrStart(/** @type {any} */ (name), { onProgress: line.update });
      servers.push(server);
      line.done(server.description);
    }
    const line = progress('starting the application, which migrates its database');
    const token = randomUUID();
    const port = await freePort();
    app = await startApp({
      port,
      token,
      env: {
        ...process.env,
        ...Object.assign({}, ...servers.map(({ env }) => env)),
        NODE_ENV: 'development',
        BROKER: broker,
        BROKER_NAMESPACE: `demo-${token.slice(0, 8)}`,
        PORT: String(port),
        HOST: '127.0.0.1',
        OPS_TOKEN: token,
        PAYMENT_GATEWAY: 'sandbox',
        RETRY_BASE_DELAY_MS: '200',
        LOG_LEVEL: 'info',
        LOG_FORMAT: 'json',
      },
    });
    line.done(`the application is ready at ${app.url}`);

    const ok = await placeOrders(app);
    process.stdout.write(
      `\n${ok ? 'Every order ended as it should, and the sums agree.' : 'SOMETHING IS WRONG: see the lines marked ✗ above.'} (${((Date.now() - started) / 1000).toFixed(1)} s)\n`,
    );
    process.stdout.write(whereNext(app, token, values.keep));
    if (values.keep) await untilInterrupted();
    return ok ? 0 : 1;
  } finally {
    await cleanUp();
  }
}

/** @param {import('./demo-app.mjs').App} app */
async function placeOrders(app) {
  const before = (await app.call('GET', `/inventory/${SKU}`)).body;
  if (!before?.sku) throw new Error(`The demo catalogue has no ${SKU}: ${JSON.stringify(before)}`);
  const plot = stories(before.onHand);

  heading(`Five orders of "${before.name}" (${before.onHand} in stock, ${money(before.price)} each)`);
  /** @type {Map<string, { title: string, at: number }>} */
  const requests = new Map();
  app.onLog((entry) => {
    const request = requests.get(String(entry['key']));
    const text = request && eventLine(entry, Date.now() - request.at, request.title);
    if (text) process.stdout.write(`${text}\n`);
  });

  const orders = [];
  for (const story of plot) {
    const at = Date.now();
    const { status, body } = await app.call('POST', '/orders', {
      customerId: randomUUID(),
      items: [{ sku: SKU, quantity: story.quantity }],
      paymentToken: story.token,
    });
    if (status !== 202) throw new Error(`POST /orders answered ${status}: ${JSON.stringify(body)}`);
    requests.set(body.id, { title: story.title, at });
    orders.push({ story, id: body.id, total: body.total });
  }
  for (const { story, id } of orders) {
    if (!story.cancel) continue;
    await until(async () => (await app.call('GET', `/orders/${id}`)).body.status === 'confirmed', `${story.title}: confirmed`);
    await app.call('POST', `/orders/${id}/cancel`);
  }

  const rows = [];
  let ok = true;
  let confirmed = 0;
  let captured = 0;
  let ledger = 0;
  let sold = 0;
  for (const { story, id, total } of orders) {
    const seen = await settle(app, story, id);
    ok &&= seen.ok;
    if (seen.order.status === 'confirmed') {
      confirmed += total.amount;
      sold += story.quantity;
    }
    if (seen.payment?.status === 'captured') captured += seen.payment.amount.amount;
    for (const entry of seen.ledger) ledger += entry.kind === 'charge' ? entry.amount.amount : -entry.amount.amount;
    rows.push([
      seen.ok ? '✓' : '✗',
      story.title,
      id.slice(-6),
      `${seen.order.status}${seen.order.reason ? ` (${seen.order.reason})` : ''}`,
      money(total),
      seen.payment?.status ?? '–',
      seen.notifications.join(', '),
    ]);
  }
  const { body: after } = await app.call('GET', `/inventory/${SKU}`);
  const currency = before.price.currency;
  heading('How they ended');
  table(['', 'order', 'id', 'status', 'total', 'payment', 'notifications'], rows);

  const sums = [
    [
      'money',
      `captured and kept ${money({ amount: captured, currency })}`,
      `confirmed orders ${money({ amount: confirmed, currency })}`,
      captured === confirmed,
    ],
    [
      'gateway',
      `charges less refunds ${money({ amount: ledger, currency })}`,
      `captured and kept ${money({ amount: captured, currency })}`,
      ledger === captured,
    ],
    [
      'stock',
      `${before.onHand} before`,
      `${after.onHand} on hand + ${sold} sold, ${after.reserved} reserved`,
      before.onHand === after.onHand + sold && after.reserved === before.reserved,
    ],
  ];
  heading('What adds up');
  table(
    ['', 'what', 'this', 'is that'],
    sums.map(([what, left, right, agrees]) => [agrees ? '✓' : '✗', what, left, right].map(String)),
  );
  return ok && sums.every(([, , , agrees]) => agrees === true);
}

/**
 * Waits until an order has ended as its story says, or for the time there is.
 * @param {import('./demo-app.mjs').App} app @param {import('./demo-orders.mjs').Story} story @param {string} id
 */
async function settle(app, story, id) {
  const look = async () => {
    const [order, payments, notifications, ledger] = await Promise.all(
      [`/orders/${id}`, `/payments?orderId=${id}`, `/notifications?orderId=${id}`, `/sandbox/gateway/ledger?orderId=${id}`].map(
        async (path) => (await app.call('GET', path)).body,
      ),
    );
    const seen = {
      order,
      payment: payments.items[0],
      notifications: notifications.items.map((/** @type {{ kind: string }} */ { kind }) => kind).sort(),
      ledger: ledger.items,
    };
    const ok =
      order.status === story.ends.status &&
      order.reason === story.ends.reason &&
      seen.payment?.status === story.ends.payment &&
      seen.notifications.join() === story.ends.notifications.join();
    return { ok, ...seen };
  };
  const deadline = Date.now() + SETTLE_MS;
  for (;;) {
    const seen = await look();
    if (seen.ok || Date.now() > deadline) return seen;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** @param {() => Promise<boolean>} check @param {string} what */
async function until(check, what) {
  const deadline = Date.now() + SETTLE_MS;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`This did not happen in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** @param {import('./demo-app.mjs').App} app @param {string} token @param {boolean} keep */
function whereNext(app, token, keep) {
  if (!keep) {
    return [
      '',
      'Where to go next',
      '  npm run demo -- --keep              leaves it running, to be driven by hand',
      '  npm run demo -- --broker kafka      the same through Kafka (or rabbitmq, sqs)',
      '  docs/adding-a-consumer.md           your first consumer, in three steps',
      '  docs/architecture.md                the path of an event',
      '',
    ].join('\n');
  }
  return [
    '',
    'It is running; Ctrl-C ends it.',
    `  ${app.url}/docs            the HTTP interface`,
    `  ${app.url}/inventory       the catalogue`,
    `  ${app.url}/health/ready    whether all is well`,
    `  ${app.url}/metrics         for Prometheus`,
    `  curl -H 'Authorization: Bearer ${token}' ${app.url}/ops/groups`,
    '',
  ].join('\n');
}

function untilInterrupted() {
  return new Promise((resolve) => {
    process.once('SIGINT', resolve);
    process.once('SIGTERM', resolve);
  });
}
