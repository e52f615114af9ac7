import { Injectable } from '@nestjs/common';
import { EventConsumer, type ConsumeContext, type EventEnvelope, type EventHandler } from '../../../messaging/index.js';
import { OrderCancelled } from '../../order/order.events.js';
import { cancelledMessage } from '../message-text.js';
import { NotifyService } from '../notify.service.js';

/** Tells the customer that the order is over, and why. */
@Injectable()
@EventConsumer({ event: OrderCancelled, group: 'notify', commit: 'grouped' })
export class NotifyCustomerWhenOrderCancelled implements EventHandler<OrderCancelled> {
  constructor(private readonly notifications: NotifyService) {}

  async handleMessage({ data }: EventEnvelope<OrderCancelled>, context: ConsumeContext): Promise<void> {
    await this.notifications.notify(cancelledMessage(data), context);
  }
}
