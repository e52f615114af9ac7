import { Injectable } from '@nestjs/common';
import { EventConsumer, type ConsumeContext, type EventEnvelope, type EventHandler } from '../../../messaging/index.js';
import { OrderCancelled } from '../../order/order.events.js';
import { InventoryService } from '../inventory.service.js';

/** What a cancelled order holds is free again, and what it had taken comes back. */
@Injectable()
@EventConsumer({ event: OrderCancelled, group: 'inventory' })
export class ReleaseStockWhenOrderCancelled implements EventHandler<OrderCancelled> {
  constructor(private readonly inventory: InventoryService) {}

  async handleMessage({ data }: EventEnvelope<OrderCancelled>, context: ConsumeContext): Promise<void> {
    await context.once((tx) => this.inventory.release(tx, data.orderId));
  }
}
