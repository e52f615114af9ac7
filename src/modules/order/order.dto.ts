import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Type } from 'class-transformer';
import {
  ArrayMaxSize,
  ArrayMinSize,
  ArrayUnique,
  IsArray,
  IsInt,
  IsObject,
  IsString,
  IsUUID,
  Length,
  Matches,
  Max,
  MaxLength,
  Min,
  ValidateNested,
} from 'class-validator';
import { Money, Omittable, PageQuery } from '../../http/index.js';
import { CANCEL_REASONS, type CancelReason } from './order.events.js';
import { ORDER_STATUSES, type OrderStatus } from './order-state.js';
import type { WholeOrder } from './order-table.js';

/** One line of `POST /orders`. */
export class OrderItemBody {
  @ApiProperty({ pattern: '^[A-Za-z0-9._-]{1,64}$', example: 'coffee-1kg' })
  @Matches(/^[A-Za-z0-9._-]{1,64}$/, { message: 'sku must be 1 to 64 letters, digits, dots, dashes or underscores' })
  sku!: string;

  @ApiProperty({ type: 'integer', minimum: 1, maximum: 1_000_000, example: 2 })
  @IsInt()
  @Min(1)
  @Max(1_000_000)
  quantity!: number;
}

/** `POST /orders` */
export class PlaceOrderBody {
  @ApiProperty({ format: 'uuid' })
  @IsUUID()
  customerId!: string;

  @ApiProperty({ type: [OrderItemBody], minItems: 1, maxItems: 100, description: 'each sku once' })
  @IsArray()
  @ArrayMinSize(1)
  @ArrayMaxSize(100)
  @IsObject({ each: true })
  @ValidateNested({ each: true })
  @ArrayUnique((item: Partial<OrderItemBody> | null) => item?.sku, { message: 'items must name each sku once' })
  @Type(() => OrderItemBody)
  items!: OrderItemBody[];

  @ApiProperty({
    minLength: 1,
    maxLength: 255,
    example: 'tok_ok',
    description: "a reference to the means of payment, by the gateway's own tokens",
  })
  @IsString()
  @Length(1, 255)
  paymentToken!: string;

  @ApiPropertyOptional({ maxLength: 2000 })
  @Omittable()
  @IsString()
  @MaxLength(2000)
  note?: string;
}

/** `GET /orders?customerId=` */
export class OrdersQuery extends PageQuery {
  @ApiProperty({ format: 'uuid' })
  @IsUUID()
  customerId!: string;
}

/** One line of an order, at the price of the day it was placed. */
export class OrderItemAnswer {
  @ApiProperty() sku!: string;
  @ApiProperty({ type: 'integer' }) quantity!: number;
  @ApiProperty({ type: Money }) unitPrice!: Money;
}

/** When an order took a status, and why where it was cancelled. */
export class OrderHistoryAnswer {
  @ApiProperty({ enum: ORDER_STATUSES }) status!: OrderStatus;
  @ApiProperty({ format: 'date-time' }) at!: string;
  @ApiPropertyOptional({ enum: CANCEL_REASONS }) reason?: CancelReason;
}

/** An order, as every route answers it. */
export class OrderAnswer {
  @ApiProperty({ format: 'uuid' }) id!: string;
  @ApiProperty({ format: 'uuid' }) customerId!: string;
  @ApiProperty({ enum: ORDER_STATUSES }) status!: OrderStatus;
  @ApiPropertyOptional({ enum: CANCEL_REASONS }) reason?: CancelReason;
  @ApiProperty({ type: [OrderItemAnswer] }) items!: OrderItemAnswer[];
  @ApiProperty({ type: Money }) total!: Money;
  @ApiPropertyOptional() note?: string;
  @ApiProperty({ format: 'date-time' }) createdAt!: string;
  @ApiProperty({ type: [OrderHistoryAnswer], description: 'oldest first' }) history!: OrderHistoryAnswer[];
}

export function orderAnswer(order: WholeOrder): OrderAnswer {
  const { id, customerId, status, reason, items, total, currency, note, createdAt, history } = order;
  return {
    id,
    customerId,
    status,
    ...(reason !== null && { reason }),
    items: items.map(({ sku, quantity, unitPrice }) => ({ sku, quantity, unitPrice: Money.of(BigInt(unitPrice), currency) })),
    total: Money.of(total, currency),
    ...(note !== null && { note }),
    createdAt: createdAt.toISOString(),
    history: history.map((line) => ({
      status: line.status,
      at: new Date(line.at).toISOString(),
      ...(line.reason !== null && { reason: line.reason }),
    })),
  };
}
