import { Injectable } from '@nestjs/common';
import { EventConsumer, type ConsumeContext, type EventEnvelope, type EventHandler } from '../../../messaging/index.js';
import { OrderConfirmed } from '../../order/order.events.js';
import { confirmedMessage } from '../message-text.js';
import { NotifyService } from '../notify.service.js';

/** Tells the customer that the order is on its way. */
@Injectable()
@EventConsumer({ event: OrderConfirmed, group: 'notify', commit: 'grouped' })
export class NotifyCustomerWhenOrderConfirmed implements EventHandler<OrderConfirmed> {
  constructor(private readonly notifications: NotifyService) {}

  async handleMessage({ data }: EventEnvelope<OrderConfirmed>, context: ConsumeContext): Promise<void> {
    await this.notifications.notify(confirmedMessage(data), context);
  }
}
