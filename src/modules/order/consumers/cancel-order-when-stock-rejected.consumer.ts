import { Injectable } from '@nestjs/common';
import { EventConsumer, type ConsumeContext, type EventEnvelope, type EventHandler } from '../../../messaging/index.js';
import { StockRejected } from '../../inventory/inventory.events.js';
import { OrderService } from '../order.service.js';

/** An order for more than there is is cancelled. */
@Injectable()
@EventConsumer({ event: StockRejected, group: 'order', commit: 'grouped' })
export class CancelOrderWhenStockRejected implements EventHandler<StockRejected> {
  constructor(private readonly orders: OrderService) {}

  async handleMessage({ data }: EventEnvelope<StockRejected>, context: ConsumeContext): Promise<void> {
    await context.once((tx) => this.orders.cancelIfPending(tx, data.orderId, 'out_of_stock'));
  }
}
