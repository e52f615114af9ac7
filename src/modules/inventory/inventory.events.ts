import { plainToInstance, Type } from 'class-transformer';
import { ArrayMinSize, IsArray, IsObject, IsString, IsUUID, Length, ValidateNested } from 'class-validator';
import { Money } from '../../http/money.js';
import { DefineEvent } from '../../messaging/index.js';

/** Everything that the order asks for is held for it; it can be paid. */
@DefineEvent({ type: 'commerce.stock.reserved', key: 'orderId' })
export class StockReserved {
  @IsUUID() readonly orderId!: string;
  @IsObject() @ValidateNested() @Type(() => Money) readonly total!: Money;
  /** Handed on from the order; never logged. */
  @IsString() @Length(1, 255) readonly paymentToken!: string;

  static of(data: StockReserved): StockReserved {
    return plainToInstance(StockReserved, data);
  }
}

/** Not all that the order asks for is there; nothing is held. */
@DefineEvent({ type: 'commerce.stock.rejected', key: 'orderId' })
export class StockRejected {
  @IsUUID() readonly orderId!: string;
  /** What there was too little of. */
  @IsArray() @ArrayMinSize(1) @IsString({ each: true }) readonly skus!: readonly string[];

  static of(data: StockRejected): StockRejected {
    return plainToInstance(StockRejected, data);
  }
}
