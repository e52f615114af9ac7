import { Injectable } from '@nestjs/common';
import { EventConsumer, type ConsumeContext, type EventEnvelope, type EventHandler } from '../../../messaging/index.js';
import { PaymentCaptured } from '../../payment/payment.events.js';
import { OrderService } from '../order.service.js';

/** A paid order is confirmed, unless it was cancelled meanwhile: payment gives the money back then. */
@Injectable()
@EventConsumer({ event: PaymentCaptured, group: 'order', commit: 'grouped' })
export class ConfirmOrderWhenPaymentCaptured implements EventHandler<PaymentCaptured> {
  constructor(private readonly orders: OrderService) {}

  async handleMessage({ data }: EventEnvelope<PaymentCaptured>, context: ConsumeContext): Promise<void> {
    await context.once((tx) => this.orders.confirmIfPending(tx, data.orderId));
  }
}
