import { Injectable } from '@nestjs/common';
import { EventConsumer, type BatchContext, type BatchEventHandler, type EventEnvelope } from '../../../messaging/index.js';
import { OrderCancelled } from '../../order/order.events.js';
import { InventoryService } from '../inventory.service.js';

/** What cancelled orders hold is free again, and what they had taken comes back. */
@Injectable()
@EventConsumer({ event: OrderCancelled, group: 'inventory' })
export class ReleaseStockWhenOrderCancelled implements BatchEventHandler<OrderCancelled> {
  constructor(private readonly inventory: InventoryService) {}

  async handleBatch(events: readonly EventEnvelope<OrderCancelled>[], context: BatchContext): Promise<void> {
    const orderIds = events.map(({ data }) => data.orderId);
    await context.once((tx) => this.inventory.release(tx, orderIds));
  }
}
