import { Injectable } from '@nestjs/common';
import { EventConsumer, type ConsumeContext, type EventEnvelope, type EventHandler } from '../../../messaging/index.js';
import { OrderPlaced } from '../../order/order.events.js';
import { InventoryService } from '../inventory.service.js';

/** Holds what an order asks for, all or nothing, and says which. */
@Injectable()
@EventConsumer({ event: OrderPlaced, group: 'inventory' })
export class ReserveStockWhenOrderPlaced implements EventHandler<OrderPlaced> {
  constructor(private readonly inventory: InventoryService) {}

  async handleMessage({ data }: EventEnvelope<OrderPlaced>, context: ConsumeContext): Promise<void> {
    await context.once((tx) => this.inventory.reserve(tx, data));
  }
}
