import { Injectable } from '@nestjs/common';
import { EventConsumer, type ConsumeContext, type EventEnvelope, type EventHandler } from '../../../messaging/index.js';
import { PaymentDeclined } from '../../payment/payment.events.js';
import { OrderService } from '../order.service.js';

/** An order that cannot be paid is cancelled, which sets its stock free. */
@Injectable()
@EventConsumer({ event: PaymentDeclined, group: 'order', commit: 'grouped' })
export class CancelOrderWhenPaymentDeclined implements EventHandler<PaymentDeclined> {
  constructor(private readonly orders: OrderService) {}

  async handleMessage({ data }: EventEnvelope<PaymentDeclined>, context: ConsumeContext): Promise<void> {
    await context.once((tx) => this.orders.cancelIfPending(tx, data.orderId, 'payment_declined'));
  }
}
