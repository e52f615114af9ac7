import type { Database, Transaction } from '../../database/database.js';
import { Prisma } from '../../database/generated/client.js';
import type { PricedOrder } from './order-pricing.js';
import type { CancelReason } from './order.events.js';
import type { OrderStatus } from './order-state.js';

export interface NewOrder extends PricedOrder {
  readonly id: string;
  readonly customerId: string;
  readonly note: string | undefined;
}

/** What the events of an order tell of it. */
export interface OrderFacts {
  readonly id: string;
  readonly customerId: string;
  readonly total: bigint;
  readonly currency: string;
}

/** An order as it is read: with its items and its history, both in their order. */
export interface WholeOrder extends OrderFacts {
  readonly status: OrderStatus;
  readonly reason: CancelReason | null;
  readonly note: string | null;
  readonly createdAt: Date;
  /** `unitPrice` as text: JSON has no numbers that large. */
  readonly items: readonly { readonly sku: string; readonly quantity: number; readonly unitPrice: string }[];
  readonly history: readonly { readonly status: OrderStatus; readonly reason: CancelReason | null; readonly at: string }[];
}

/** Where an order stands among its customer's. */
export interface OrderPlace {
  readonly createdAt: Date;
  readonly id: string;
}

/** A transaction, or the client outside of one. */
export type Reader = Transaction | Database['prisma'];

/** Writes pending orders with their items and the first line of their history; answers when each was, by the database's clock. */
export async function insertOrders(tx: Transaction, orders: readonly NewOrder[]): Promise<ReadonlyMap<string, Date>> {
  const items = orders.flatMap((order) => order.items.map((item, index) => ({ ...item, orderId: order.id, position: index + 1 })));
  const rows = await tx.$queryRaw<{ id: string; createdAt: Date }[]>`
    WITH placed AS (
      INSERT INTO orders (id, customer_id, status, total, currency, note)
      SELECT id, customer_id, 'pending', total, currency, note FROM unnest(
        ${orders.map(({ id }) => id)}::uuid[], ${orders.map(({ customerId }) => customerId)}::uuid[], ${orders.map(({ total }) => total)}::bigint[],
        ${orders.map(({ currency }) => currency)}::text[], ${orders.map(({ note }) => note ?? null)}::text[]
      ) AS o(id, customer_id, total, currency, note)
      RETURNING id, created_at
    ), items AS (
      INSERT INTO order_item (order_id, position, sku, quantity, unit_price)
      SELECT placed.id, item.position, item.sku, item.quantity, item.unit_price
      FROM placed JOIN unnest(
        ${items.map(({ orderId }) => orderId)}::uuid[], ${items.map(({ position }) => position)}::int[],
        ${items.map(({ sku }) => sku)}::text[], ${items.map(({ quantity }) => quantity)}::int[], ${items.map(({ unitPrice }) => unitPrice)}::bigint[]
      ) AS item(order_id, position, sku, quantity, unit_price) ON item.order_id = placed.id
    ), history AS (
      INSERT INTO order_history (order_id, position, status, at) SELECT id, 1, 'pending', created_at FROM placed
    )
    SELECT id, created_at AS "createdAt" FROM placed`;
  return new Map(rows.map(({ id, createdAt }) => [id, createdAt]));
}

/** Holds the order until the transaction ends, so that its transitions are made one after the other; answers its status. */
export async function lockOrder(tx: Transaction, id: string): Promise<OrderStatus | undefined> {
  const [order] = await tx.$queryRaw<{ status: OrderStatus }[]>`SELECT status FROM orders WHERE id = ${id}::uuid FOR UPDATE`;
  return order?.status;
}

/**
 * Moves an order from one status to another, with the line of its history; undefined where it has not this status. The
 * order need not be locked: whoever moves it at the same time leaves it in another status, to which none returns, so the
 * row that was waited for is not taken, and the history that was read before is never too short.
 */
export async function moveOrder(
  tx: Transaction,
  id: string,
  { from, to, reason }: { readonly from: OrderStatus; readonly to: OrderStatus; readonly reason: CancelReason | null },
): Promise<OrderFacts | undefined> {
  const [order] = await tx.$queryRaw<OrderFacts[]>`
    WITH moved AS (
      UPDATE orders SET status = ${to}, reason = ${reason} WHERE id = ${id}::uuid AND status = ${from}
      RETURNING id, customer_id, total, currency
    ), history AS (
      INSERT INTO order_history (order_id, position, status, reason)
      SELECT moved.id, (SELECT count(*) + 1 FROM order_history WHERE order_id = moved.id), ${to}, ${reason} FROM moved
    )
    SELECT id, customer_id AS "customerId", total, currency FROM moved`;
  return order;
}

/** One statement, so that the status and the history of an answer are of the same moment. */
const SELECT_WHOLE = Prisma.sql`
  SELECT id, customer_id AS "customerId", status, reason, total, currency, note, created_at AS "createdAt",
    (SELECT json_agg(json_build_object('sku', sku, 'quantity', quantity, 'unitPrice', unit_price::text) ORDER BY position)
     FROM order_item WHERE order_id = orders.id) AS items,
    (SELECT json_agg(json_build_object('status', status, 'reason', reason, 'at', at) ORDER BY position)
     FROM order_history WHERE order_id = orders.id) AS history
  FROM orders`;

/** An order with its items and history. */
export async function findOrder(reader: Reader, id: string): Promise<WholeOrder | undefined> {
  const [order] = await reader.$queryRaw<WholeOrder[]>`${SELECT_WHOLE} WHERE id = ${id}::uuid`;
  return order;
}

/** A customer's orders from behind the given one on, newest first. */
export function findOrdersOf(reader: Reader, customerId: string, after: OrderPlace | undefined, limit: number): Promise<WholeOrder[]> {
  return reader.$queryRaw<WholeOrder[]>`
    ${SELECT_WHOLE}
    WHERE customer_id = ${customerId}::uuid
      ${after ? Prisma.sql`AND (created_at, id) < (${after.createdAt}::timestamptz, ${after.id}::uuid)` : Prisma.empty}
    ORDER BY created_at DESC, id DESC LIMIT ${limit}`;
}
