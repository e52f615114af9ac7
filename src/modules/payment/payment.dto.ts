import { ApiProperty } from '@nestjs/swagger';
import { IsUUID } from 'class-validator';
import { Money, PageQuery } from '../../http/index.js';

export const PAYMENT_STATUSES = ['captured', 'declined', 'refunded'] as const;
export type PaymentStatus = (typeof PAYMENT_STATUSES)[number];

/** `GET /payments?orderId=` */
export class PaymentsQuery extends PageQuery {
  @ApiProperty({ format: 'uuid' })
  @IsUUID()
  orderId!: string;
}

/** The gateway's final word on an order. */
export class PaymentAnswer {
  @ApiProperty({ format: 'uuid' }) id!: string;
  @ApiProperty({ format: 'uuid' }) orderId!: string;
  @ApiProperty({ type: Money }) amount!: Money;
  @ApiProperty({ enum: PAYMENT_STATUSES }) status!: PaymentStatus;
  @ApiProperty({ type: String, nullable: true, description: 'of the charge; null where nothing was charged' }) gatewayReference!:
    string | null;
}

interface PaymentRow {
  readonly id: string;
  readonly orderId: string;
  readonly amount: bigint;
  readonly currency: string;
  readonly status: string;
  readonly gatewayReference: string | null;
}

export function paymentAnswer({ id, orderId, amount, currency, status, gatewayReference }: PaymentRow): PaymentAnswer {
  return { id, orderId, amount: Money.of(amount, currency), status: status as PaymentStatus, gatewayReference };
}
