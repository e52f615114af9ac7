import { Injectable } from '@nestjs/common';
import { EventConsumer, type ConsumeContext, type EventEnvelope, type EventHandler } from '../../../messaging/index.js';
import { OrderConfirmed } from '../../order/order.events.js';
import { InventoryService } from '../inventory.service.js';

/** What a confirmed order holds leaves the stock. */
@Injectable()
@EventConsumer({ event: OrderConfirmed, group: 'inventory' })
export class CommitStockWhenOrderConfirmed implements EventHandler<OrderConfirmed> {
  constructor(private readonly inventory: InventoryService) {}

  async handleMessage({ data }: EventEnvelope<OrderConfirmed>, context: ConsumeContext): Promise<void> {
    await context.once((tx) => this.inventory.commit(tx, data.orderId));
  }
}
