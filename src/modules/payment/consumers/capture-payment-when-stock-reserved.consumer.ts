import { Injectable } from '@nestjs/common';
import { EventConsumer, type ConsumeContext, type EventEnvelope, type EventHandler } from '../../../messaging/index.js';
import { StockReserved } from '../../inventory/inventory.events.js';
import { PaymentService } from '../payment.service.js';

/** Takes the money for an order whose goods are there. */
@Injectable()
@EventConsumer({ event: StockReserved, group: 'payment', commit: 'grouped' })
export class CapturePaymentWhenStockReserved implements EventHandler<StockReserved> {
  constructor(private readonly payments: PaymentService) {}

  async handleMessage({ data }: EventEnvelope<StockReserved>, context: ConsumeContext): Promise<void> {
    await this.payments.capture(data, context);
  }
}
