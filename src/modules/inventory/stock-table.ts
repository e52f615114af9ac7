import type { Transaction } from '../../database/database.js';
import type { Money } from '../../http/money.js';
import type { ReservationState, StockChange } from './reservation-state.js';
import type { Line, Stock } from './allotment.js';

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
export async function lockStock(tx: Transaction, skus: readonly string[]): Promise<Stock[]> {
  if (skus.length === 0) return [];
  return tx.$queryRaw<Stock[]>`
    SELECT sku, on_hand AS "onHand", reserved FROM stock_item WHERE sku = ANY(${[...new Set(skus)]}::text[]) ORDER BY sku FOR UPDATE`;
}

/**
 * Reserves the lines of orders that the locked stock is enough for, and notes them.
 * @throws Error when it is not; never takes what is not there
 */
export async function reserveLines(
  tx: Transaction,
  orders: readonly { readonly orderId: string; readonly items: readonly Line[] }[],
): Promise<void> {
  const lines = orders.flatMap(({ orderId, items }) => items.map((line) => ({ orderId, ...line })));
  if (lines.length === 0) return;
  const reserved = await tx.$executeRaw`
    WITH line AS (
      SELECT * FROM unnest(
        ${lines.map(({ orderId }) => orderId)}::uuid[], ${lines.map(({ sku }) => sku)}::text[], ${lines.map(({ quantity }) => quantity)}::int[]
      ) AS line(order_id, sku, quantity)
    ), held AS (
      INSERT INTO reservation_line (order_id, sku, quantity) SELECT order_id, sku, quantity FROM line
    )
    UPDATE stock_item SET reserved = reserved + asked.quantity
    FROM (SELECT sku, sum(quantity) AS quantity FROM line GROUP BY sku) AS asked
    WHERE stock_item.sku = asked.sku AND reserved + asked.quantity <= on_hand`;
  const skus = new Set(lines.map(({ sku }) => sku)).size;
  if (reserved !== skus) throw new Error(`only ${reserved} of ${skus} skus could be reserved; the stock was not locked`);
}

/** Applies to the locked stock what becomes of each order's lines. */
export async function changeStock(
  tx: Transaction,
  changes: readonly { readonly orderId: string; readonly change: StockChange }[],
): Promise<void> {
  if (changes.length === 0) return;
  await tx.$executeRaw`
    UPDATE stock_item SET on_hand = stock_item.on_hand + change.on_hand, reserved = stock_item.reserved + change.reserved
    FROM (
      SELECT sku, sum(change.on_hand * quantity::bigint) AS on_hand, sum(change.reserved * quantity::bigint) AS reserved
      FROM unnest(
        ${changes.map(({ orderId }) => orderId)}::uuid[],
        ${changes.map(({ change }) => change.onHand)}::int[], ${changes.map(({ change }) => change.reserved)}::int[]
      ) AS change(order_id, on_hand, reserved) JOIN reservation_line USING (order_id)
      GROUP BY sku
    ) AS change
    WHERE stock_item.sku = change.sku`;
}

/** Notes the decision on orders; answers those on which there was none. */
export async function insertReservations(tx: Transaction, orderIds: readonly string[], state: ReservationState): Promise<Set<string>> {
  const inserted = await tx.$queryRaw<{ orderId: string }[]>`
    INSERT INTO reservation (order_id, state) SELECT id, ${state} FROM unnest(${[...orderIds]}::uuid[]) AS id ORDER BY id
    ON CONFLICT DO NOTHING RETURNING order_id AS "orderId"`;
  return new Set(inserted.map(({ orderId }) => orderId));
}

export interface Reservation {
  readonly orderId: string;
  readonly state: ReservationState;
  readonly skus: readonly string[];
}

/** Holds the reservations of orders until the transaction ends. */
export async function lockReservations(tx: Transaction, orderIds: readonly string[]): Promise<Reservation[]> {
  if (orderIds.length === 0) return [];
  return tx.$queryRaw<Reservation[]>`
    SELECT order_id AS "orderId", state, ARRAY(SELECT sku FROM reservation_line AS line WHERE line.order_id = reservation.order_id) AS skus
    FROM reservation WHERE order_id = ANY(${[...orderIds]}::uuid[]) ORDER BY order_id FOR UPDATE`;
}

/** Writes what has become of reservations that the transaction has locked or added. */
export async function writeReservationStates(
  tx: Transaction,
  states: readonly { readonly orderId: string; readonly to: ReservationState }[],
): Promise<void> {
  if (states.length === 0) return;
  await tx.$executeRaw`
    UPDATE reservation SET state = new.state
    FROM unnest(${states.map(({ orderId }) => orderId)}::uuid[], ${states.map(({ to }) => to)}::text[]) AS new(order_id, state)
    WHERE reservation.order_id = new.order_id`;
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
