import { plainToInstance, Type } from 'class-transformer';
import {
  ArrayMaxSize,
  ArrayMinSize,
  IsArray,
  IsIn,
  IsInt,
  IsObject,
  IsString,
  IsUUID,
  Length,
  Max,
  Min,
  ValidateNested,
} from 'class-validator';
import { Money } from '../../http/money.js';
import { DefineEvent } from '../../messaging/index.js';

/** Why an order was cancelled. */
export const CANCEL_REASONS = ['out_of_stock', 'payment_declined', 'requested'] as const;
export type CancelReason = (typeof CANCEL_REASONS)[number];

/** So many of one sku. */
export class OrderedItem {
  @IsString() @Length(1, 64) readonly sku!: string;
  @IsInt() @Min(1) @Max(1_000_000) readonly quantity!: number;
}

/** A customer has ordered; stock and payment are still to be seen to. */
@DefineEvent({ type: 'commerce.order.placed', key: 'orderId' })
export class OrderPlaced {
  @IsUUID() readonly orderId!: string;
  @IsUUID() readonly customerId!: string;
  @IsArray() @ArrayMinSize(1) @ArrayMaxSize(100) @ValidateNested({ each: true }) @Type(() => OrderedItem) readonly items!: OrderedItem[];
  @IsObject() @ValidateNested() @Type(() => Money) readonly total!: Money;
  /** A reference to the means of payment, not a credential; never logged. */
  @IsString() @Length(1, 255) readonly paymentToken!: string;

  static of(data: OrderPlaced): OrderPlaced {
    return plainToInstance(OrderPlaced, data);
  }
}

/** The order is paid and its goods are its own. */
@DefineEvent({ type: 'commerce.order.confirmed', key: 'orderId' })
export class OrderConfirmed {
  @IsUUID() readonly orderId!: string;
  @IsUUID() readonly customerId!: string;
  @IsObject() @ValidateNested() @Type(() => Money) readonly total!: Money;

  static of(data: OrderConfirmed): OrderConfirmed {
    return plainToInstance(OrderConfirmed, data);
  }
}

/** The order is over: what it held goes back. */
@DefineEvent({ type: 'commerce.order.cancelled', key: 'orderId' })
export class OrderCancelled {
  @IsUUID() readonly orderId!: string;
  @IsUUID() readonly customerId!: string;
  @IsIn(CANCEL_REASONS) readonly reason!: CancelReason;
  @IsObject() @ValidateNested() @Type(() => Money) readonly total!: Money;

  static of(data: OrderCancelled): OrderCancelled {
    return plainToInstance(OrderCancelled, data);
  }
}
