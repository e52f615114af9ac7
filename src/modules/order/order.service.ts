import { Inject, Injectable } from '@nestjs/common';
import { isISO8601, isUUID } from 'class-validator';
import { randomUUIDv7 } from 'node:crypto';
import { CONFIG, type Config } from '../../config/config.js';
import { failpoint } from '../../config/failpoint.js';
import { Database, type Transaction } from '../../database/database.js';
import { GroupCommit, type Member } from '../../database/group-commit.js';
import { decodeCursor, Money, pageOf, type Page } from '../../http/index.js';
import { Outbox } from '../../messaging/index.js';
import { fingerprint } from './canonical-json.js';
import { Catalogue } from './catalogue.js';
import { IdempotencyKeys, type KeyClaim, type StoredAnswer } from './idempotency-keys.js';
import { orderAnswer, type OrderAnswer, type OrdersQuery, type PlaceOrderBody } from './order.dto.js';
import { IdempotencyKeyInUseError, IdempotencyKeyReusedError, OrderAlreadyCancelledError, OrderNotFoundError } from './order.errors.js';
import { OrderCancelled, OrderConfirmed, OrderPlaced, type CancelReason } from './order.events.js';
import { priceOrder, type CataloguePrice } from './order-pricing.js';
import { canBecome, type OrderStatus } from './order-state.js';
import { findOrder, findOrdersOf, insertOrders, lockOrder, moveOrder, type NewOrder, type OrderFacts, type Reader } from './order-table.js';

/** What `place` is asked for. */
interface OrderRequest {
  readonly request: PlaceOrderBody;
  readonly claim: KeyClaim | undefined;
  readonly catalogue: ReadonlyMap<string, CataloguePrice>;
}

const MOST_ORDERS_TOGETHER = 64;
const GROUPS_AT_ONCE = 2;

/** What becomes of orders. Every change and the event that tells of it are of one transaction. */
@Injectable()
export class OrderService {
  private readonly placing: GroupCommit<OrderRequest, StoredAnswer>;

  constructor(
    private readonly database: Database,
    private readonly outbox: Outbox,
    private readonly idempotencyKeys: IdempotencyKeys,
    private readonly catalogue: Catalogue,
    @Inject(CONFIG) { orders }: Config,
  ) {
    this.placing = new GroupCommit(database, {
      ...(orders.groupCommit ? { most: MOST_ORDERS_TOGETHER, atOnce: GROUPS_AT_ONCE } : { most: 1, atOnce: Infinity }),
      work: (tx, members, begun) => this.placeAll(tx, members, begun),
    });
  }

  /**
   * Places an order, once per idempotency key, and answers it as it was then. With ORDERS_GROUP_COMMIT, orders that
   * are placed at the same time are committed together.
   * @throws UnknownSkuError, MixedCurrenciesError, TotalTooLargeError, IdempotencyKeyReusedError, IdempotencyKeyInUseError
   */
  async place(request: PlaceOrderBody, idempotencyKey: string | undefined): Promise<StoredAnswer> {
    const answer = await this.placing.run({
      request,
      claim: idempotencyKey === undefined ? undefined : { key: idempotencyKey, request: fingerprint(request) },
      catalogue: await this.catalogue.pricesOf(request.items.map(({ sku }) => sku)),
    });
    await failpoint('order.afterCommit');
    return answer;
  }

  /** @throws OrderNotFoundError, OrderAlreadyCancelledError */
  async cancel(id: string): Promise<OrderAnswer> {
    return this.database.transaction(async (tx) => {
      const status = await lockOrder(tx, id);
      if (status === undefined) throw new OrderNotFoundError(id);
      if (!canBecome(status, 'cancelled')) throw new OrderAlreadyCancelledError(id);
      await this.cancelFrom(tx, id, status, 'requested');
      return this.answerOf(tx, id);
    });
  }

  /** Confirms an order that is still pending; a later one is left as it is. */
  async confirmIfPending(tx: Transaction, id: string): Promise<void> {
    const order = await moveOrder(tx, id, { from: 'pending', to: 'confirmed', reason: null });
    if (order) this.outbox.emit(tx, OrderConfirmed.of(factsOf(order)));
  }

  /** Cancels an order that is still pending; a later one is left as it is. */
  cancelIfPending(tx: Transaction, id: string, reason: CancelReason): Promise<void> {
    return this.cancelFrom(tx, id, 'pending', reason);
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

  /** Places orders in one transaction, with one statement for each step; a request that is refused leaves no trace in it. */
  private async placeAll(
    tx: Transaction,
    members: readonly Member<OrderRequest>[],
    begun: (member: Member<OrderRequest>) => void,
  ): Promise<(() => StoredAnswer)[]> {
    const claims = new Map(members.flatMap(({ input: { claim } }) => (claim ? [[claim.key, claim] as const] : [])));
    const twin = members.find(
      ({ input: { claim } }, index) => claim && members.findIndex((other) => other.input.claim?.key === claim.key) < index,
    );
    if (twin) {
      begun(twin); // it comes after the other one, by itself, and gets its answer
      throw new IdempotencyKeyInUseError(1, undefined);
    }
    const earlier = await this.idempotencyKeys.claim(tx, [...claims.values()]);
    const outcomes = members.map(({ input: { request, claim, catalogue } }) => {
      const stored = claim && earlier.get(claim.key);
      return stored ? { stored } : orderOf(request, catalogue);
    });
    const orders = outcomes.flatMap((outcome) => ('order' in outcome ? [outcome.order] : []));
    const createdAt = orders.length > 0 ? await insertOrders(tx, orders) : new Map<string, Date>();
    this.database.beforeCommit(tx, async () => failpoint('order.beforeCommit'));
    const answers = members.map(({ input: { request, claim }, inContext }, index) => {
      const outcome = outcomes[index] as (typeof outcomes)[number];
      if ('refusal' in outcome) return { refusal: outcome.refusal };
      if ('stored' in outcome)
        return outcome.stored.request === claim?.request ? { answer: outcome.stored } : { refusal: new IdempotencyKeyReusedError() };
      inContext(() => this.outbox.emit(tx, placedEvent(outcome.order, request)));
      return { answer: acceptedAnswer(outcome.order, createdAt.get(outcome.order.id) as Date), spends: claim?.key };
    });
    await this.idempotencyKeys.spend(
      tx,
      answers.flatMap(({ answer, spends }) => (answer && spends !== undefined ? [{ ...answer, key: spends }] : [])),
    );
    await this.idempotencyKeys.release(
      tx,
      members.flatMap(({ input: { claim } }, index) => (claim && !earlier.has(claim.key) && answers[index]?.refusal ? [claim.key] : [])),
    );
    return answers.map(({ answer, refusal }) => () => {
      if (answer) return answer;
      throw refusal;
    });
  }

  private async cancelFrom(tx: Transaction, id: string, from: OrderStatus, reason: CancelReason): Promise<void> {
    const order = await moveOrder(tx, id, { from, to: 'cancelled', reason });
    if (order) this.outbox.emit(tx, OrderCancelled.of({ ...factsOf(order), reason }));
  }

  private async answerOf(reader: Reader, id: string): Promise<OrderAnswer> {
    const order = await findOrder(reader, id);
    if (!order) throw new OrderNotFoundError(id);
    return orderAnswer(order);
  }
}

/** A new order out of a request, or why there is none. */
function orderOf(
  { customerId, items, note }: PlaceOrderBody,
  catalogue: ReadonlyMap<string, CataloguePrice>,
): { readonly order: NewOrder } | { readonly refusal: unknown } {
  try {
    return { order: { id: randomUUIDv7(), customerId: customerId.toLowerCase(), note, ...priceOrder(items, catalogue) } };
  } catch (refusal) {
    return { refusal };
  }
}

function factsOf({ id, customerId, total, currency }: OrderFacts): { orderId: string; customerId: string; total: Money } {
  return { orderId: id, customerId, total: Money.of(total, currency) };
}

function placedEvent(order: NewOrder, { items, paymentToken }: PlaceOrderBody): OrderPlaced {
  return OrderPlaced.of({
    orderId: order.id,
    customerId: order.customerId,
    items,
    total: Money.of(order.total, order.currency),
    paymentToken,
  });
}

function acceptedAnswer(order: NewOrder, createdAt: Date): StoredAnswer {
  const body = orderAnswer({
    ...order,
    note: order.note ?? null,
    status: 'pending',
    reason: null,
    createdAt,
    items: order.items.map((item) => ({ ...item, unitPrice: String(item.unitPrice) })),
    history: [{ status: 'pending', reason: null, at: createdAt.toISOString() }],
  });
  return { status: 202, location: `/orders/${order.id}`, body: JSON.stringify(body) };
}

/** Whether a cursor holds createdAt and id of the last order shown. */
function isPlace([createdAt, id, ...more]: readonly string[]): boolean {
  return isISO8601(createdAt, { strict: true }) && isUUID(id) && more.length === 0;
}
