import { ApiProperty } from '@nestjs/swagger';
import { Type } from 'class-transformer';
import { IsInt, IsObject, IsString, Length, Max, Min, ValidateNested } from 'class-validator';
import { Money } from '../../http/index.js';
import type { StockRow } from './stock-table.js';

const LARGEST_STOCK = 2 ** 31 - 1;

/** `PUT /inventory/:sku` */
export class PutStockItemBody {
  @ApiProperty({ minLength: 1, maxLength: 200, example: 'Coffee, whole beans, 1 kg' })
  @IsString()
  @Length(1, 200)
  name!: string;

  @ApiProperty({ type: Money })
  @IsObject()
  @ValidateNested()
  @Type(() => Money)
  price!: Money;

  @ApiProperty({ type: 'integer', minimum: 0, maximum: LARGEST_STOCK, example: 100 })
  @IsInt()
  @Min(0)
  @Max(LARGEST_STOCK)
  onHand!: number;
}

/** An item of the catalogue and its stock. */
export class StockItemAnswer {
  @ApiProperty({ example: 'coffee-1kg' }) sku!: string;
  @ApiProperty() name!: string;
  @ApiProperty({ type: Money }) price!: Money;
  @ApiProperty({ type: 'integer', description: 'what is in the house' }) onHand!: number;
  @ApiProperty({ type: 'integer', description: 'how much of it orders hold' }) reserved!: number;
}

export function stockItemAnswer({ sku, name, price, currency, onHand, reserved }: StockRow): StockItemAnswer {
  return { sku, name, price: Money.of(price, currency), onHand: Number(onHand), reserved: Number(reserved) };
}
