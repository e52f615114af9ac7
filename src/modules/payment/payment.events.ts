import { plainToInstance, Type } from 'class-transformer';
import { IsObject, IsString, IsUUID, ValidateNested } from 'class-validator';
import { Money } from '../../http/money.js';
import { DefineEvent } from '../../messaging/index.js';

/** The gateway has taken the money. */
@DefineEvent({ type: 'commerce.payment.captured', key: 'orderId' })
export class PaymentCaptured {
  @IsUUID() readonly orderId!: string;
  @IsUUID() readonly paymentId!: string;
  @IsObject() @ValidateNested() @Type(() => Money) readonly amount!: Money;
  @IsString() readonly gatewayReference!: string;

  static of(data: PaymentCaptured): PaymentCaptured {
    return plainToInstance(PaymentCaptured, data);
  }
}

/** The gateway has refused for good. */
@DefineEvent({ type: 'commerce.payment.declined', key: 'orderId' })
export class PaymentDeclined {
  @IsUUID() readonly orderId!: string;
  @IsUUID() readonly paymentId!: string;
  @IsObject() @ValidateNested() @Type(() => Money) readonly amount!: Money;

  static of(data: PaymentDeclined): PaymentDeclined {
    return plainToInstance(PaymentDeclined, data);
  }
}

/** What had been taken is given back. */
@DefineEvent({ type: 'commerce.payment.refunded', key: 'orderId' })
export class PaymentRefunded {
  @IsUUID() readonly orderId!: string;
  @IsUUID() readonly paymentId!: string;
  @IsObject() @ValidateNested() @Type(() => Money) readonly amount!: Money;
  @IsString() readonly gatewayReference!: string;

  static of(data: PaymentRefunded): PaymentRefunded {
    return plainToInstance(PaymentRefunded, data);
  }
}
