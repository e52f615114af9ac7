import type { Transaction } from '../../database/database.js';
import type { Money } from '../../http/money.js';
import type { ReservationState, StockChange } from './reservation-state.js';
import type { Line, Stock } from './shortage.js';

/** A stock item as its row is. */
export interface StockRow extends Stock {
  readonly name: string;
  readonly price: bigint;
  readonly currency: string;
}

/**
 * Holds the items until the transaction ends. Everything that changes more than one of them comes through here
 * first: the locks are taken in the order of the skus, so that two orders cannot wait for each other.
 */
export function lockStock(tx: Transaction, skus: readonly string[]): Promise<Stock[]> {
  return tx.$queryRaw<Stock[]>`
    SELECT sku, on_hand AS "onHand", reserved FROM stock_item WHERE sku = ANY(${[...skus]}::text[]) ORDER BY sku FOR UPDATE`;
}

/**
 * Reserves lines that the locked stock is enough for.
 * @throws Error when it is not; never takes what is not there
 */
export async function reserveLines(tx: Transaction, lines: readonly Line[]): Promise<void> {
  const reserved = await tx.$executeRaw`
    UPDATE stock_item SET reserved = reserved + line.quantity
    FROM unnest(${lines.map(({ sku }) => sku)}::text[], ${lines.map(({ quantity }) => quantity)}::bigint[]) AS line(sku, quantity)
    WHERE stock_item.sku = line.sku AND reserved + line.quantity <= on_hand`;
  if (reserved !== lines.length)
    throw new Error(`only ${reserved} of ${lines.length} lines could be reserved; the stock was not locked, or a sku came twice`);
}

/** Applies the change to what an order holds of each item. */
export async function changeStock(tx: Transaction, orderId: string, change: StockChange): Promise<void> {
  await tx.$executeRaw`
    UPDATE stock_item SET on_hand = on_hand + ${change.onHand} * line.quantity::bigint, reserved = reserved + ${change.reserved} * line.quantity::bigint
    FROM reservation_line AS line WHERE line.order_id = ${orderId}::uuid AND line.sku = stock_item.sku`;
}

/** Notes the decision on an order; false when there is one already. */
export async function insertReservation(
  tx: Transaction,
  orderId: string,
  state: ReservationState,
  lines: readonly Line[],
): Promise<boolean> {
  const [result] = await tx.$queryRaw<{ inserted: boolean }[]>`
    WITH decided AS (
      INSERT INTO reservation (order_id, state) VALUES (${orderId}::uuid, ${state}) ON CONFLICT DO NOTHING RETURNING order_id
    ), held AS (
      INSERT INTO reservation_line (order_id, sku, quantity)
      SELECT order_id, sku, quantity FROM decided, unnest(
        ${lines.map(({ sku }) => sku)}::text[], ${lines.map(({ quantity }) => quantity)}::int[]) AS line(sku, quantity)
    )
    SELECT EXISTS (SELECT 1 FROM decided) AS inserted`;
  return result?.inserted ?? false;
}

/** Holds the reservation of an order until the transaction ends. */
export async function lockReservation(tx: Transaction, orderId: string): Promise<{ state: ReservationState; skus: string[] } | undefined> {
  const [row] = await tx.$queryRaw<{ state: ReservationState; skus: string[] }[]>`
    SELECT state, ARRAY(SELECT sku FROM reservation_line WHERE order_id = reservation.order_id) AS skus
    FROM reservation WHERE order_id = ${orderId}::uuid FOR UPDATE`;
  return row;
}

/** Writes what has become of a locked reservation. */
export async function writeReservationState(tx: Transaction, orderId: string, state: ReservationState): Promise<void> {
  await tx.$executeRaw`UPDATE reservation SET state = ${state} WHERE order_id = ${orderId}::uuid`;
}

/** Creates the item or changes it, in one statement; undefined when more of it is reserved than would be on hand. */
export async function putStockItem(
  tx: Pick<Transaction, '$queryRaw'>,
  item: { sku: string; name: string; price: Money; onHand: number },
): Promise<StockRow | undefined> {
  const [row] = await tx.$queryRaw<StockRow[]>`
    INSERT INTO stock_item (sku, name, price, currency, on_hand)
    VALUES (${item.sku}, ${item.name}, ${BigInt(item.price.amount)}, ${item.price.currency}, ${BigInt(item.onHand)})
    ON CONFLICT (sku) DO UPDATE SET name = excluded.name, price = excluded.price, currency = excluded.currency, on_hand = excluded.on_hand
      WHERE stock_item.reserved <= excluded.on_hand
    RETURNING sku, name, price, currency, on_hand AS "onHand", reserved`;
  return row;
}
