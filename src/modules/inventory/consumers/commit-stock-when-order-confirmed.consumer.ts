import { Injectable } from '@nestjs/common';
import { EventConsumer, type BatchContext, type BatchEventHandler, type EventEnvelope } from '../../../messaging/index.js';
import { OrderConfirmed } from '../../order/order.events.js';
import { InventoryService } from '../inventory.service.js';

/** What confirmed orders hold leaves the stock. */
@Injectable()
@EventConsumer({ event: OrderConfirmed, group: 'inventory' })
export class CommitStockWhenOrderConfirmed implements BatchEventHandler<OrderConfirmed> {
  constructor(private readonly inventory: InventoryService) {}

  async handleBatch(events: readonly EventEnvelope<OrderConfirmed>[], context: BatchContext): Promise<void> {
    const orderIds = events.map(({ data }) => data.orderId);
    await context.once((tx) => this.inventory.commit(tx, orderIds));
  }
}
