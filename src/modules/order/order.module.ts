import { Module } from '@nestjs/common';
import { Catalogue } from './catalogue.js';
import { CancelOrderWhenPaymentDeclined } from './consumers/cancel-order-when-payment-declined.consumer.js';
import { CancelOrderWhenStockRejected } from './consumers/cancel-order-when-stock-rejected.consumer.js';
import { ConfirmOrderWhenPaymentCaptured } from './consumers/confirm-order-when-payment-captured.consumer.js';
import { IdempotencyKeys } from './idempotency-keys.js';
import { OrderController } from './order.controller.js';
import { OrderService } from './order.service.js';

@Module({
  controllers: [OrderController],
  providers: [
    OrderService,
    IdempotencyKeys,
    Catalogue,
    CancelOrderWhenStockRejected,
    ConfirmOrderWhenPaymentCaptured,
    CancelOrderWhenPaymentDeclined,
  ],
})
export class OrderModule {}
