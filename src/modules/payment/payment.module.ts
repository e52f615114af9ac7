import { Module, type DynamicModule, type Provider, type Type } from '@nestjs/common';
import type { Config } from '../../config/config.js';
import { CapturePaymentWhenStockReserved } from './consumers/capture-payment-when-stock-reserved.consumer.js';
import { RefundPaymentWhenOrderCancelled } from './consumers/refund-payment-when-order-cancelled.consumer.js';
import { PAYMENT_GATEWAY, type PaymentGateway } from './payment-gateway.js';
import { PaymentController } from './payment.controller.js';
import { PaymentService } from './payment.service.js';
import { SandboxLedgerController } from './sandbox/sandbox-ledger.controller.js';
import { SandboxGateway } from './sandbox/sandbox-gateway.js';
import { SandboxLedger } from './sandbox/sandbox-ledger.js';

interface Binding {
  readonly gateway: Type<PaymentGateway>;
  readonly providers: Provider[];
  readonly controllers: Type[];
}

/** What PAYMENT_GATEWAY may name. */
const GATEWAYS: Readonly<Record<Config['payment']['gateway'], Binding>> = {
  sandbox: { gateway: SandboxGateway, providers: [SandboxLedger], controllers: [SandboxLedgerController] },
};

@Module({})
export class PaymentModule {
  static for(config: Config): DynamicModule {
    const { gateway, providers, controllers } = GATEWAYS[config.payment.gateway];
    return {
      module: PaymentModule,
      controllers: [PaymentController, ...controllers],
      providers: [
        { provide: PAYMENT_GATEWAY, useClass: gateway },
        PaymentService,
        CapturePaymentWhenStockReserved,
        RefundPaymentWhenOrderCancelled,
        ...providers,
      ],
    };
  }
}
