import { Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../../database/database.js';
import { decodeCursor, pageOf, type Page, type PageQuery } from '../../http/index.js';
import { Outbox } from '../../messaging/index.js';
import type { OrderPlaced } from '../order/order.events.js';
import { stockItemAnswer, type PutStockItemBody, type StockItemAnswer } from './inventory.dto.js';
import { OnHandBelowReservedError, StockItemNotFoundError } from './inventory.errors.js';
import { StockRejected, StockReserved } from './inventory.events.js';
import { onCancelled, onConfirmed, type ReservationState, type Step } from './reservation-state.js';
import { shortOf } from './shortage.js';
import { isSku } from './sku.pipe.js';
import {
  changeStock,
  insertReservation,
  lockReservation,
  lockStock,
  putStockItem,
  reserveLines,
  writeReservationState,
} from './stock-table.js';

/** What there is, and for which orders it is held. */
@Injectable()
export class InventoryService {
  constructor(
    private readonly database: Database,
    private readonly outbox: Outbox,
  ) {}

  /** Holds everything that the order asks for, or nothing, and says which. Decides once per order. */
  async reserve(tx: Transaction, { orderId, items, total, paymentToken }: OrderPlaced): Promise<void> {
    const stock = await lockStock(
      tx,
      items.map(({ sku }) => sku),
    );
    const skus = shortOf(items, stock);
    if (skus.length > 0) {
      if (await insertReservation(tx, orderId, 'rejected', [])) this.outbox.emit(tx, StockRejected.of({ orderId, skus }));
      return;
    }
    if (!(await insertReservation(tx, orderId, 'reserved', items))) return;
    await reserveLines(tx, items);
    this.outbox.emit(tx, StockReserved.of({ orderId, total, paymentToken }));
  }

  /** What a confirmed order holds leaves the stock. */
  commit(tx: Transaction, orderId: string): Promise<void> {
    return this.advance(tx, orderId, onConfirmed);
  }

  /** What a cancelled order holds is free again; what it had taken is back on hand. An order that comes later than its cancel holds nothing. */
  async release(tx: Transaction, orderId: string): Promise<void> {
    if (await insertReservation(tx, orderId, 'released', [])) return;
    await this.advance(tx, orderId, onCancelled);
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

  private async advance(tx: Transaction, orderId: string, stepOf: (state: ReservationState) => Step | undefined): Promise<void> {
    const reservation = await lockReservation(tx, orderId);
    const step = reservation && stepOf(reservation.state);
    if (!step) return;
    await lockStock(tx, reservation.skus);
    await changeStock(tx, orderId, step.change);
    await writeReservationState(tx, orderId, step.to);
  }
}
