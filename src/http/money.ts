import { ApiProperty } from '@nestjs/swagger';
import { IsInt, Matches, Max, Min } from 'class-validator';

/** An amount as every request, answer and event has it: whole minor units (cents), never a fraction. */
export class Money {
  @ApiProperty({ description: 'In minor units: 1050 is 10.50 EUR', minimum: 0, maximum: Number.MAX_SAFE_INTEGER, example: 1050 })
  @IsInt()
  @Min(0)
  @Max(Number.MAX_SAFE_INTEGER)
  readonly amount!: number;

  @ApiProperty({ description: 'ISO 4217', pattern: '^[A-Z]{3}$', example: 'EUR' })
  @Matches(/^[A-Z]{3}$/, { message: 'currency must be three capital letters (ISO 4217)' })
  readonly currency!: string;

  /**
   * From the database's BigInt; the one place where it becomes a number.
   * @throws RangeError when a number cannot hold it exactly
   */
  static of(amount: bigint, currency: string): Money {
    if (amount > Number.MAX_SAFE_INTEGER) throw new RangeError(`${amount} ${currency} is more than a JSON number can hold exactly`);
    return Object.assign(new Money(), { amount: Number(amount), currency });
  }
}
