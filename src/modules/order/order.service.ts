import { Injectable } from '@nestjs/common';
import { isISO8601, isUUID } from 'class-validator';
import { randomUUIDv7 } from 'node:crypto';
import { failpoint } from '../../config/failpoint.js';
import { Database, type Transaction } from '../../database/database.js';
import { decodeCursor, Money, pageOf, type Page } from '../../http/index.js';
import { Outbox } from '../../messaging/index.js';
import { fingerprint } from './canonical-json.js';
import { pricesOf } from './catalogue.js';
import { IdempotencyKeys, type StoredAnswer } from './idempotency-keys.js';
import { orderAnswer, type OrderAnswer, type OrdersQuery, type PlaceOrderBody } from './order.dto.js';
import { OrderAlreadyCancelledError, OrderNotFoundError } from './order.errors.js';
import { OrderCancelled, OrderConfirmed, OrderPlaced, type CancelReason } from './order.events.js';
import { priceOrder } from './order-pricing.js';
import { canBecome, type OrderStatus } from './order-state.js';
import { findOrder, findOrdersOf, insertOrder, lockOrder, writeStatus, type LockedOrder, type Reader } from './order-table.js';

/** What becomes of orders. Every change and the event that tells of it are of one transaction. */
@Injectable()
export class OrderService {
  constructor(
    private readonly database: Database,
    private readonly outbox: Outbox,
    private readonly idempotencyKeys: IdempotencyKeys,
  ) {}

  /**
   * Places an order, once per idempotency key, and answers it as it was then.
   * @throws UnknownSkuError, MixedCurrenciesError, TotalTooLargeError, IdempotencyKeyReusedError, IdempotencyKeyInUseError
   */
  async place(request: PlaceOrderBody, idempotencyKey: string | undefined): Promise<StoredAnswer> {
    const answer = await this.database.transaction(async (tx) => {
      if (idempotencyKey === undefined) return this.insert(tx, request);
      const earlier = await this.idempotencyKeys.claim(tx, idempotencyKey, fingerprint(request));
      if (earlier) return earlier;
      const first = await this.insert(tx, request);
      await this.idempotencyKeys.spend(tx, idempotencyKey, first);
      return first;
    });
    await failpoint('order.afterCommit');
    return answer;
  }

  /** @throws OrderNotFoundError, OrderAlreadyCancelledError */
  async cancel(id: string): Promise<OrderAnswer> {
    return this.database.transaction(async (tx) => {
      const order = await lockOrder(tx, id);
      if (!order) throw new OrderNotFoundError(id);
      if (!(await this.advance(tx, order, 'cancelled', 'requested'))) throw new OrderAlreadyCancelledError(id);
      return this.answerOf(tx, id);
    });
  }

  /** Confirms an order that is still pending; a later one is left as it is. */
  async confirmIfPending(tx: Transaction, id: string): Promise<void> {
    const order = await lockOrder(tx, id);
    if (order) await this.advance(tx, order, 'confirmed', null);
  }

  /** Cancels an order that is still pending; a later one is left as it is. */
  async cancelIfPending(tx: Transaction, id: string, reason: CancelReason): Promise<void> {
    const order = await lockOrder(tx, id);
    if (order?.status === 'pending') await this.advance(tx, order, 'cancelled', reason);
  }

  /** @throws OrderNotFoundError */
  find(id: string): Promise<OrderAnswer> {
    return this.answerOf(this.database.prisma, id);
  }

  /** A customer's orders, newest first. */
  async list({ customerId, cursor, limit }: OrdersQuery): Promise<Page<OrderAnswer>> {
    const [createdAt, lastId] = decodeCursor(cursor, isPlace) ?? [];
    const after = createdAt !== undefined && lastId !== undefined ? { createdAt: new Date(createdAt), id: lastId } : undefined;
    const orders = await findOrdersOf(this.database.prisma, customerId, after, limit + 1);
    return pageOf(orders.map(orderAnswer), limit, (order) => [order.createdAt, order.id]);
  }

  private async insert(tx: Transaction, { customerId, items, paymentToken, note }: PlaceOrderBody): Promise<StoredAnswer> {
    const catalogue = await pricesOf(
      tx,
      items.map(({ sku }) => sku),
    );
    const priced = priceOrder(items, catalogue);
    const order = { id: randomUUIDv7(), customerId: customerId.toLowerCase(), note, ...priced };
    const createdAt = await insertOrder(tx, order);
    this.outbox.emit(
      tx,
      OrderPlaced.of({
        orderId: order.id,
        customerId: order.customerId,
        items,
        total: Money.of(priced.total, priced.currency),
        paymentToken,
      }),
    );
    this.database.beforeCommit(tx, async () => failpoint('order.beforeCommit'));
    const body = orderAnswer({
      ...order,
      note: note ?? null,
      status: 'pending',
      reason: null,
      createdAt,
      items: priced.items.map((item) => ({ ...item, unitPrice: String(item.unitPrice) })),
      history: [{ status: 'pending', reason: null, at: createdAt.toISOString() }],
    });
    return { status: 202, location: `/orders/${order.id}`, body: JSON.stringify(body) };
  }

  /** Moves a locked order on, with the event that says so; false where its status does not allow it. */
  private async advance(tx: Transaction, order: LockedOrder, to: OrderStatus, reason: CancelReason | null): Promise<boolean> {
    if (!canBecome(order.status, to)) return false;
    await writeStatus(tx, order.id, to, reason);
    const facts = { orderId: order.id, customerId: order.customerId, total: Money.of(order.total, order.currency) };
    this.outbox.emit(tx, reason === null ? OrderConfirmed.of(facts) : OrderCancelled.of({ ...facts, reason }));
    return true;
  }

  private async answerOf(reader: Reader, id: string): Promise<OrderAnswer> {
    const order = await findOrder(reader, id);
    if (!order) throw new OrderNotFoundError(id);
    return orderAnswer(order);
  }
}

/** Whether a cursor holds createdAt and id of the last order shown. */
function isPlace([createdAt, id, ...more]: readonly string[]): boolean {
  return isISO8601(createdAt, { strict: true }) && isUUID(id) && more.length === 0;
}
