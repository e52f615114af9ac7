import { afterAll, beforeAll, expect } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { AppProcess } from '../support/app-process.js';
import { eventually } from '../support/eventually.js';
import { fault } from './fault.js';
import { RunningShop } from './running-shop.js';

const CANARY = 'canary-4111111111111111';
const MAIL = 'canary.person@example.com';

/** One shop for all of them: what HTTP refuses leaves nothing behind. */
let shop: RunningShop;
let app: AppProcess;

beforeAll(async () => {
  shop = await RunningShop.open('postgres', { RETRY_MAX_ATTEMPTS: '1', LOG_LEVEL: 'trace' });
  app = await shop.start();
}, 60_000);
afterAll(() => shop?.close());

const order = (more: object = {}): Record<string, unknown> => ({
  customerId: randomUUID(),
  items: [{ sku: 'widget', quantity: 1 }],
  paymentToken: 'tok_ok',
  ...more,
});

/** Sends JSON as it is written. */
const send = (body: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${app.url}/orders`, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } });

const rowsOf = async (...tables: string[]): Promise<number[]> =>
  Promise.all(tables.map(async (table) => (await shop.database.query(`SELECT 1 FROM ${table}`)).length));

fault('P16', 'U+0000 and lone surrogates are refused at the edge and reach no table', {}, async () => {
  const before = await rowsOf('orders', 'observed.published');
  for (const text of ['a\\u0000b', '\\ud800', '\\udfff\\ud800', 'a\\ud83d']) {
    const body = JSON.stringify(order({ note: 'NOTE' })).replace('NOTE', text);
    const response = await send(body);
    expect(response.status).toBe(400);
    expect(JSON.stringify(await response.json())).toContain('note');
  }
  expect(await rowsOf('orders', 'observed.published')).toEqual(before);
  const fine = await send(JSON.stringify(order({ note: '\ud83c\udf81 ünïcödé \u0001'.replace('\u0001', '') })));
  expect(fine.status).toBe(202);
});

fault('H4', 'twenty requests with one key at once are one order, and another body is refused', { on: ['any'] }, async () => {
  const body = JSON.stringify(order());
  const key = { 'idempotency-key': randomUUID() };
  const answers = await Promise.all(Array.from({ length: 20 }, () => send(body, key)));
  const statuses = new Set(answers.map(({ status }) => status));
  statuses.delete(409); // "in use: come again"
  expect(statuses).toEqual(new Set([202]));
  expect((await send(JSON.stringify(order()), key)).status).toBe(422);
  const { customerId } = JSON.parse(body) as { customerId: string };
  expect(await shop.database.query('SELECT 1 FROM orders WHERE customer_id = $1', [customerId])).toHaveLength(1);
});

fault('H5', 'every operator route of the application is shut to whoever has no token, a wrong one, or half of it', {}, async () => {
  const document = (await (await fetch(`${app.url}/docs-json`)).json()) as {
    paths: Record<string, Record<string, { security?: unknown[] }>>;
  };
  const routes = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(
        ([method, { security = [] }]) => path.startsWith('/ops') || path.startsWith('/sandbox') || method === 'put' || security.length > 0,
      )
      .map(([method]) => ({ method: method.toUpperCase(), path: path.replaceAll(/\{\w+\}/g, randomUUID()) })),
  );
  expect(routes.filter(({ path }) => path.startsWith('/ops')).length).toBeGreaterThan(8);
  for (const { method, path } of routes) {
    for (const authorization of [undefined, 'Bearer wrong', 'Bearer ', 'Basic b3BzOm9wcw==', 'Bearer null']) {
      const response = await fetch(app.url + path, { method, headers: authorization === undefined ? {} : { authorization } });
      expect([method, path, authorization, response.status]).toEqual([method, path, authorization, 401]);
      await response.text();
    }
  }
});

fault('H7', 'SQL in every string of every request changes nothing', {}, async () => {
  const before = await rowsOf('orders', 'stock_item', 'dead_letter');
  const evil = `'; DROP TABLE orders; DELETE FROM stock_item; --`;
  const encoded = encodeURIComponent(evil);
  const answers = [
    await app.post('/orders', order({ customerId: evil })),
    await app.post('/orders', order({ items: [{ sku: evil, quantity: 1 }] })),
    await app.get(`/orders?customerId=${encoded}`),
    await app.get(`/orders/${encoded}`),
    await app.get(`/orders?customerId=${randomUUID()}&cursor=${Buffer.from(JSON.stringify([evil, evil])).toString('base64url')}`),
    await app.get(`/inventory/${encoded}`),
    await app.get(`/payments?orderId=${encoded}`),
    await app.post(`/ops/groups/${encoded}/pause`),
    await app.post('/ops/dead-letters/replay', { before: evil }),
  ];
  for (const { status } of answers) expect([400, 404]).toContain(status);
  const harmless = [
    await app.post('/orders', order({ note: evil, paymentToken: `tok_declined_${evil}` })),
    await app.get(`/ops/dead-letters?group=${encoded}&type=${encoded}&key=${encoded}`),
    await app.post('/ops/dead-letters/replay', { key: evil }),
  ];
  for (const { status } of harmless) expect([200, 202]).toContain(status);
  expect(harmless[2]?.body).toEqual({ replaying: 0 });
  const [orders, ...others] = await rowsOf('orders', 'stock_item', 'dead_letter');
  expect([orders, ...others]).toEqual([(before[0] as number) + 1, ...before.slice(1)]);
});

fault('H8', 'line breaks and escapes of a client forge no line of the log', {}, async () => {
  const forged = 'x"}\n{"level":"fatal","msg":"forged"}\r\n\u001b[31m';
  await app.post('/orders', order({ note: forged, paymentToken: forged }));
  await app.get(`/orders/${encodeURIComponent(forged)}`);
  await app.get(`/ops/dead-letters?key=${encodeURIComponent(forged)}`);
  await send('{}', { 'x-correlation-id': 'a","level":"fatal' });
  await app.get('/health/live');
  await eventually(() => expect(app.output).toContain('"route":"/health/live"'));
  const lines = app.output
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>); // each is one JSON object
  expect(lines.length).toBeGreaterThan(5);
  expect(lines.filter(({ level }) => level === 'fatal')).toEqual([]);
  expect(app.output).not.toContain('\u001b');
});

fault('H10', 'headers of a client become none of an event, but its correlation and its trace', {}, async () => {
  const customerId = randomUUID();
  const correlation = randomUUID();
  const response = await send(JSON.stringify(order({ customerId })), {
    'x-correlation-id': correlation,
    'x-delay': '86400000',
    'x-retry-count': '99',
    'x-death': 'yes',
    ce_id: randomUUID(),
    ce_type: 'commerce.order.confirmed',
    baggage: 'user=1,role=admin',
    'x-attempt': '7',
  });
  expect(response.status).toBe(202);
  const [event] = await shop.database.query<{ headers: Record<string, string> }>(
    `SELECT headers FROM observed.published WHERE type = 'commerce.order.placed' AND convert_from(payload, 'UTF8')::jsonb ->> 'customerId' = $1`,
    [customerId],
  );
  const ours = 'correlationid dataschema id partitionkey source specversion subject time traceparent type'
    .split(' ')
    .map((name) => `ce_${name}`);
  expect(Object.keys(event?.headers ?? {}).sort()).toEqual([...ours, 'content-type']);
  expect(event?.headers).toMatchObject({ ce_correlationid: correlation, ce_type: 'commerce.order.placed' });
  const tooLong = await send(JSON.stringify(order()), { baggage: 'x'.repeat(64 * 1024) }).catch(() => undefined);
  expect(tooLong?.status ?? 431).toBe(431);
});

fault('H12', 'personal data of a dead letter are for the operator alone, and in no log, metric, trace or health answer', {}, async () => {
  const id = String((await app.post('/orders', order({ note: `write to ${MAIL}`, paymentToken: `tok_broken_${CANARY}` }))).body['id']);
  const letter = await eventually(async () => {
    const letters = await app.all(`/ops/dead-letters?key=${id}`);
    expect(letters).toHaveLength(1);
    return letters[0] as Record<string, string>;
  });
  expect(JSON.stringify(letter)).not.toContain(CANARY); // the list has no data
  const path = `/ops/dead-letters/${letter['id']}`;
  expect((await app.get(path)).body['payload']).toContain(CANARY); // so the operator can mend it
  expect((await fetch(app.url + path)).status).toBe(401);
  const [announced] = await shop.database.query<{ payload: string; headers: string }>(
    `SELECT convert_from(payload, 'UTF8') AS payload, headers::text FROM observed.published WHERE type = 'waybill.dead_letter.recorded' AND key = $1`,
    [id],
  );
  expect(announced).toBeDefined();
  const elsewhere = [
    app.output,
    await (await fetch(`${app.url}/metrics`)).text(),
    await (await fetch(`${app.url}/health/ready`)).text(),
    JSON.stringify((await app.post('/orders', order({ note: MAIL, paymentToken: `${CANARY}${'x'.repeat(300)}` }))).body),
    JSON.stringify(announced),
  ];
  for (const text of elsewhere) {
    expect(text).not.toContain(CANARY);
    expect(text).not.toContain(MAIL);
  }
});
