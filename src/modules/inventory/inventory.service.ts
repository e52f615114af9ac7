import { Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../../database/database.js';
import { decodeCursor, pageOf, type Page, type PageQuery } from '../../http/index.js';
import { Outbox, type BatchContext, type EventEnvelope } from '../../messaging/index.js';
import type { OrderPlaced } from '../order/order.events.js';
import { allot } from './allotment.js';
import { stockItemAnswer, type PutStockItemBody, type StockItemAnswer } from './inventory.dto.js';
import { OnHandBelowReservedError, StockItemNotFoundError } from './inventory.errors.js';
import { StockRejected, StockReserved } from './inventory.events.js';
import { onCancelled, onConfirmed, type ReservationState, type Step } from './reservation-state.js';
import { isSku } from './sku.pipe.js';
import {
  changeStock,
  insertReservations,
  lockReservations,
  lockStock,
  putStockItem,
  reserveLines,
  writeReservationStates,
} from './stock-table.js';

/**
 * What there is, and for which orders it is held. Popular goods are in many orders at once, and a row of the stock is
 * changed by one transaction at a time: so the orders of a batch change it together, in a few statements for all.
 *
 * Two transactions do not wait for each other in a circle: each adds reservations, then locks earlier ones, then locks
 * stock, each in the order of the keys; nobody waits for a reservation while it holds stock.
 */
@Injectable()
export class InventoryService {
  constructor(
    private readonly database: Database,
    private readonly outbox: Outbox,
  ) {}

  /** Holds for each order, in turn, everything that it asks for, or nothing, and says which. Decides once per order. */
  async reserve(tx: Transaction, placed: readonly EventEnvelope<OrderPlaced>[], context: Pick<BatchContext, 'causedBy'>): Promise<void> {
    const undecided = await insertReservations(
      tx,
      placed.map(({ data }) => data.orderId),
      'reserved',
    );
    const fresh = placed.filter(({ data }) => undecided.delete(data.orderId)); // of one that comes twice the first
    const orders = fresh.map((event) => ({ event, ...event.data }));
    const stock = await lockStock(
      tx,
      orders.flatMap(({ items }) => items.map(({ sku }) => sku)),
    );
    const { served, refused } = allot(orders, stock);
    await reserveLines(tx, served);
    await writeReservationStates(
      tx,
      refused.map(({ order: { orderId } }) => ({ orderId, to: 'rejected' })),
    );
    for (const { event, orderId, total, paymentToken } of served)
      context.causedBy(event, () => this.outbox.emit(tx, StockReserved.of({ orderId, total, paymentToken })));
    for (const { order, skus } of refused)
      context.causedBy(order.event, () => this.outbox.emit(tx, StockRejected.of({ orderId: order.orderId, skus })));
  }

  /** What confirmed orders hold leaves the stock. */
  commit(tx: Transaction, orderIds: readonly string[]): Promise<void> {
    return this.advance(tx, orderIds, onConfirmed);
  }

  /** What cancelled orders hold is free again; what they had taken is back on hand. An order that comes later than its cancel holds nothing. */
  async release(tx: Transaction, orderIds: readonly string[]): Promise<void> {
    const undecided = await insertReservations(tx, orderIds, 'released');
    await this.advance(
      tx,
      orderIds.filter((orderId) => !undecided.has(orderId)),
      onCancelled,
    );
  }

  /**
   * Creates or changes an item of the catalogue.
   * @throws OnHandBelowReservedError
   */
  async put(sku: string, body: PutStockItemBody): Promise<StockItemAnswer> {
    const row = await putStockItem(this.database.prisma, { sku, ...body });
    if (!row) throw new OnHandBelowReservedError(sku);
    return stockItemAnswer(row);
  }

  /** @throws StockItemNotFoundError */
  async find(sku: string): Promise<StockItemAnswer> {
    const row = await this.database.prisma.stockItem.findUnique({ where: { sku } });
    if (!row) throw new StockItemNotFoundError(sku);
    return stockItemAnswer(row);
  }

  /** The catalogue, by sku. */
  async list({ cursor, limit }: PageQuery): Promise<Page<StockItemAnswer>> {
    const [after] = decodeCursor(cursor, isSku) ?? [];
    const rows = await this.database.prisma.stockItem.findMany({
      ...(after !== undefined && { where: { sku: { gt: after } } }),
      orderBy: { sku: 'asc' },
      take: limit + 1,
    });
    return pageOf(rows.map(stockItemAnswer), limit, ({ sku }) => [sku]);
  }

  private async advance(
    tx: Transaction,
    orderIds: readonly string[],
    stepOf: (state: ReservationState) => Step | undefined,
  ): Promise<void> {
    const reservations = await lockReservations(tx, orderIds);
    const steps = reservations.flatMap(({ orderId, state, skus }) => {
      const step = stepOf(state);
      return step ? [{ orderId, skus, ...step }] : [];
    });
    await writeReservationStates(tx, steps);
    await lockStock(
      tx,
      steps.flatMap(({ skus }) => skus),
    );
    await changeStock(tx, steps);
  }
}
