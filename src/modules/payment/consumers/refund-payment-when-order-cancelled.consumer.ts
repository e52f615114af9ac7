import { Injectable } from '@nestjs/common';
import { EventConsumer, type EventEnvelope, type EventHandler } from '../../../messaging/index.js';
import { OrderCancelled } from '../../order/order.events.js';
import { PaymentService } from '../payment.service.js';

/** Gives back what was taken for an order that is cancelled. */
@Injectable()
@EventConsumer({ event: OrderCancelled, group: 'payment' })
export class RefundPaymentWhenOrderCancelled implements EventHandler<OrderCancelled> {
  constructor(private readonly payments: PaymentService) {}

  async handleMessage({ data }: EventEnvelope<OrderCancelled>): Promise<void> {
    await this.payments.refund(data);
  }
}
