import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { BrokerName } from '../../src/config/config.js';
import { AppProcess } from '../support/app-process.js';
import { brokersUnderTest, serverOf, stopServers } from '../support/brokers-under-test.js';
import { eventually } from '../support/eventually.js';
import { freshDatabase, type FreshDatabase } from '../support/fresh-database.js';

jest.setTimeout(180_000); // more than the waits of one test together

const PRICE = 250;
const STOCK = 1000;

/** The shop as its users see it: the built application in processes of its own, over HTTP, on one broker. */
export function shopSuite(broker: BrokerName): void {
  const suite = brokersUnderTest().includes(broker) ? describe : describe.skip;

  suite(`the shop on ${broker}`, () => {
    let database: FreshDatabase;
    let env: Record<string, string>;
    let app: AppProcess;
    const others: AppProcess[] = [];

    beforeAll(async () => {
      database = await freshDatabase();
      env = {
        ...(broker === 'postgres' ? {} : (await serverOf(broker)).env),
        BROKER: broker,
        BROKER_NAMESPACE: `e${randomUUID().slice(0, 8)}`,
        DATABASE_URL: database.url,
        RETRY_BASE_DELAY_MS: '50',
        RETRY_MAX_DELAY_MS: '200',
        RETRY_MAX_ATTEMPTS: '4',
        HANDLER_TIMEOUT_MS: '4000',
        OUTBOX_LEASE_MS: '4000',
        KAFKA_SESSION_TIMEOUT_MS: '6000',
      };
      app = await AppProcess.start(env);
      expect(
        (await app.call('PUT', '/inventory/widget', { name: 'Widget', price: { amount: PRICE, currency: 'EUR' }, onHand: STOCK })).status,
      ).toBe(200);
    }, 120_000);
    afterAll(async () => {
      for (const process of [app, ...others]) await process?.end('SIGKILL');
      await database?.drop();
      await stopServers();
    });

    const place = async (
      paymentToken: string,
      quantity = 1,
      sku = 'widget',
      via = app,
      headers: Record<string, string> = {},
    ): Promise<string> => {
      const {
        status,
        body,
        headers: answered,
      } = await via.post('/orders', { customerId: randomUUID(), items: [{ sku, quantity }], paymentToken, note: 'ring twice' }, headers);
      expect(status).toBe(202);
      expect(answered.get('location')).toBe(`/orders/${String(body['id'])}`);
      return body['id'] as string;
    };
    const ends = async (id: string, status: string, reason?: string, timeoutMs = 45_000): Promise<void> => {
      await eventually(
        async () => expect((await app.get(`/orders/${id}`)).body).toMatchObject({ status, ...(reason !== undefined && { reason }) }),
        { timeoutMs, everyMs: 50 },
      );
    };
    const payment = async (id: string): Promise<Record<string, unknown> | undefined> =>
      (await app.get(`/payments?orderId=${id}`)).body.items[0];
    const ledger = (id: string): Promise<Record<string, string>[]> => app.all(`/sandbox/gateway/ledger?orderId=${id}`);
    const letterOf = (id: string): Promise<Record<string, string>> =>
      eventually(
        async () => {
          const letters = await app.all(`/ops/dead-letters?key=${id}`);
          expect(letters).toHaveLength(1);
          return letters[0] as Record<string, string>;
        },
        { timeoutMs: 60_000, everyMs: 100 },
      );

    it.each([
      ['tok_ok', 'confirmed', undefined, 'captured'],
      ['tok_declined', 'cancelled', 'payment_declined', 'declined'],
      ['tok_never_heard_of', 'cancelled', 'payment_declined', 'declined'],
      ['tok_flaky', 'confirmed', undefined, 'captured'],
      ['tok_slow', 'confirmed', undefined, 'captured'],
      ['tok_lost_response_2', 'confirmed', undefined, 'captured'],
    ])('an order paid with %s ends %s', async (token, status, reason, paid) => {
      const id = await place(token, 2);
      await ends(id, status, reason);
      await eventually(async () =>
        expect(await payment(id)).toMatchObject({ status: paid, amount: { amount: 2 * PRICE, currency: 'EUR' } }),
      );
      await eventually(async () =>
        expect((await app.get(`/notifications?orderId=${id}`)).body.items).toMatchObject([{ kind: `order_${status}` }]),
      );
      expect((await ledger(id)).map(({ kind }) => kind)).toEqual(status === 'confirmed' ? ['charge'] : []);
    });

    it('an order for more than there is ends cancelled, out of stock, and is never charged', async () => {
      const id = await place('tok_ok', STOCK + 1);
      await ends(id, 'cancelled', 'out_of_stock');
      expect(await ledger(id)).toEqual([]);
    });

    it('a confirmed order that is cancelled gives back stock and money', async () => {
      const id = await place('tok_ok', 3);
      await ends(id, 'confirmed');
      expect((await app.post(`/orders/${id}/cancel`)).status).toBe(202);
      await ends(id, 'cancelled', 'requested');
      await eventually(async () => expect(await payment(id)).toMatchObject({ status: 'refunded' }));
      const [charge, refund] = await ledger(id);
      expect(refund).toMatchObject({ kind: 'refund', reference: charge?.['reference'] });
      expect((await app.post(`/orders/${id}/cancel`)).status).toBe(409);
    });

    it('a dead letter of a broken gateway is mended with another token and replayed', async () => {
      const id = await place('tok_broken');
      const letter = await letterOf(id);
      expect(letter).toMatchObject({ group: 'payment', key: id, attempts: 4, state: 'open', waiting: 0 });
      const { body } = await app.get(`/ops/dead-letters/${String(letter['id'])}`);
      const data = JSON.parse(body['payload'] as string) as Record<string, unknown>;
      expect((await app.post(`/ops/dead-letters/${String(letter['id'])}/replay`, { data: { ...data, paymentToken: 7 } })).status).toBe(400);
      expect(
        (await app.post(`/ops/dead-letters/${String(letter['id'])}/replay`, { data: { ...data, paymentToken: 'tok_flaky_mended' } }))
          .status,
      ).toBe(202);
      await ends(id, 'confirmed');
      await eventually(async () =>
        expect((await app.get(`/ops/dead-letters/${String(letter['id'])}`)).body).toMatchObject({ state: 'replayed', replays: 1 }),
      );
      expect((await app.post(`/ops/dead-letters/${String(letter['id'])}/replay`)).status).toBe(409);
    });

    it('a replay that fails again is the same letter, open again; discarding it lets the order be cancelled and keeps no money', async () => {
      const id = await place('tok_broken');
      const letter = await letterOf(id);
      expect((await app.post(`/ops/dead-letters/replay`, { key: id })).body).toEqual({ replaying: 1 });
      await eventually(
        async () => expect((await app.get(`/ops/dead-letters/${String(letter['id'])}`)).body).toMatchObject({ state: 'open', replays: 1 }),
        { timeoutMs: 45_000 },
      );
      expect((await app.post(`/orders/${id}/cancel`)).status).toBe(202);
      await ends(id, 'cancelled', 'requested');
      expect((await app.post(`/ops/dead-letters/${String(letter['id'])}/discard`, { reason: 'the customer gave up' })).status).toBe(200);
      expect(await ledger(id)).toEqual([]);
    });

    it('of 100 orders at once for 10 units exactly 10 are confirmed', async () => {
      await app.call('PUT', '/inventory/rare', { name: 'Rare', price: { amount: 100, currency: 'EUR' }, onHand: 10 });
      const ids = await Promise.all(Array.from({ length: 100 }, () => place('tok_ok', 1, 'rare')));
      await eventually(
        async () => {
          const orders = await Promise.all(ids.map(async (id) => (await app.get(`/orders/${id}`)).body['status']));
          expect(orders.filter((status) => status === 'pending')).toHaveLength(0);
          expect(orders.filter((status) => status === 'confirmed')).toHaveLength(10);
        },
        { timeoutMs: 60_000, everyMs: 250 },
      );
      await eventually(async () => expect((await app.get('/inventory/rare')).body).toMatchObject({ onHand: 0, reserved: 0 }));
      // Whether it was handled alone or in a batch, the log tells of each event.
      const told = app.output
        .split('\n')
        .filter((line) => line.includes('"consumer":"ReserveStockWhenOrderPlaced"') && line.includes('"msg":"handled"'));
      for (const id of ids) expect(told.filter((line) => line.includes(`"key":"${id}"`))).toHaveLength(1);
    });

    it('a cancel that races the payment ends refunded or never charged', async () => {
      const ids = await Promise.all(Array.from({ length: 20 }, () => place('tok_ok')));
      await Promise.all(ids.map(async (id) => expect((await app.post(`/orders/${id}/cancel`)).status).toBe(202)));
      for (const id of ids) await ends(id, 'cancelled', 'requested');
      await eventually(
        async () => {
          for (const id of ids) {
            const kinds = (await ledger(id)).map(({ kind }) => kind as string).sort();
            expect([[], ['charge', 'refund']]).toContainEqual(kinds);
            const paid = await payment(id);
            expect(paid === undefined ? [] : ['charge', 'refund']).toEqual(kinds);
          }
        },
        { timeoutMs: 45_000, everyMs: 250 },
      );
    });

    it('the same Idempotency-Key places one order', async () => {
      const request = { customerId: randomUUID(), items: [{ sku: 'widget', quantity: 1 }], paymentToken: 'tok_ok' };
      const key = { 'idempotency-key': randomUUID() };
      const first = await app.post('/orders', request, key);
      const again = await app.post('/orders', request, key);
      expect(again.status).toBe(202);
      expect(again.body).toEqual(first.body);
      expect(again.headers.get('location')).toBe(first.headers.get('location'));
      expect((await app.post('/orders', { ...request, paymentToken: 'tok_slow' }, key)).status).toBe(422);
      expect((await app.get(`/orders?customerId=${request.customerId}`)).body.items).toHaveLength(1);
    });

    it('two instances are killed and restarted under load: nothing is lost, nothing happens twice, the sums agree', async () => {
      others.push(await AppProcess.start(env), await AppProcess.start(env));
      const ids: string[] = [];
      const load = (async () => {
        for (let n = 0; n < 60; n++) ids.push(await place(['tok_ok', 'tok_flaky', 'tok_declined'][n % 3] as string));
      })();
      await eventually(() => expect(ids.length).toBeGreaterThan(10));
      expect(await others[0]?.end('SIGKILL')).toBe('SIGKILL');
      await eventually(() => expect(ids.length).toBeGreaterThan(30));
      expect(await others[1]?.end('SIGTERM')).toBe(0);
      await load;
      for (const id of ids) {
        await eventually(async () => expect((await app.get(`/orders/${id}`)).body['status']).not.toBe('pending'), {
          timeoutMs: 90_000,
          everyMs: 100,
        });
      }
      await quiet();
      for (const [n, id] of ids.entries()) await ends(id, n % 3 === 2 ? 'cancelled' : 'confirmed');
      expect(await app.all('/ops/dead-letters')).toEqual([]);
    }, 240_000);

    it('at the end the sums agree, over all orders', async () => {
      await quiet();
      const [sums] = await database.query<Record<string, string>>(
        `SELECT (SELECT coalesce(sum(total), 0) FROM orders WHERE status = 'confirmed') AS confirmed,
                (SELECT coalesce(sum(amount), 0) FROM payment WHERE status = 'captured') AS captured,
                (SELECT coalesce(sum(CASE kind WHEN 'charge' THEN amount ELSE -amount END), 0) FROM sandbox_ledger_entry) AS ledger,
                (SELECT coalesce(sum(i.quantity), 0) FROM orders o JOIN order_item i ON i.order_id = o.id WHERE o.status = 'confirmed' AND i.sku = 'widget') AS sold,
                (SELECT on_hand FROM stock_item WHERE sku = 'widget') AS on_hand, (SELECT reserved FROM stock_item WHERE sku = 'widget') AS reserved`,
      );
      expect(sums?.['captured']).toBe(sums?.['confirmed']);
      expect(sums?.['ledger']).toBe(sums?.['confirmed']);
      expect(Number(sums?.['on_hand']) + Number(sums?.['sold'])).toBe(STOCK);
      const [doubled] = await database.query(
        `SELECT order_id FROM sandbox_ledger_entry WHERE kind = 'charge' GROUP BY order_id HAVING count(*) > 1`,
      );
      expect(doubled).toBeUndefined();
    });

    it('no token, no note and no password reaches the log', () => {
      for (const { output } of [app, ...others]) {
        expect(output).not.toMatch(/tok_(ok|flaky|declined|broken|slow)/);
        expect(output).not.toContain('ring twice');
        expect(output).not.toContain(
          new URL(database.url).password === '' ? 'no password to look for' : `:${new URL(database.url).password}@`,
        );
      }
    });

    it('SIGTERM ends it in order, with exit code 0', async () => {
      expect(await app.end('SIGTERM')).toBe(0);
    });

    const quiet = async (): Promise<void> => {
      await eventually(
        async () => {
          expect((await app.get('/ops/outbox')).body['backlog']).toBe(0);
          for (const { lag, parked } of await app.all('/ops/groups')) expect({ lag, parked }).toEqual({ lag: 0, parked: 0 });
        },
        { timeoutMs: 90_000, everyMs: 200 },
      );
    };
  });
}
