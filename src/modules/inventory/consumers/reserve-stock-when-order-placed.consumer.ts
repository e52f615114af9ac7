import { Injectable } from '@nestjs/common';
import { EventConsumer, type BatchContext, type BatchEventHandler, type EventEnvelope } from '../../../messaging/index.js';
import { OrderPlaced } from '../../order/order.events.js';
import { InventoryService } from '../inventory.service.js';

/** Holds what orders ask for, all or nothing, and says which. */
@Injectable()
@EventConsumer({ event: OrderPlaced, group: 'inventory' })
export class ReserveStockWhenOrderPlaced implements BatchEventHandler<OrderPlaced> {
  constructor(private readonly inventory: InventoryService) {}

  async handleBatch(events: readonly EventEnvelope<OrderPlaced>[], context: BatchContext): Promise<void> {
    await context.once((tx) => this.inventory.reserve(tx, events, context));
  }
}
