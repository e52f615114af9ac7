import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Type } from 'class-transformer';
import { IsDate, IsIn, IsObject, IsOptional, IsString, MaxLength, MinLength } from 'class-validator';
import { PageQuery } from '../http/index.js';

export const DEAD_LETTER_STATES = ['open', 'replaying', 'replayed', 'discarded'] as const;

/** `GET /ops/dead-letters?group=&type=&key=&state=` */
export class DeadLettersQuery extends PageQuery {
  @ApiPropertyOptional() @IsOptional() @IsString() @MaxLength(255) group?: string;
  @ApiPropertyOptional() @IsOptional() @IsString() @MaxLength(255) type?: string;
  @ApiPropertyOptional() @IsOptional() @IsString() @MaxLength(255) key?: string;
  @ApiPropertyOptional({ enum: DEAD_LETTER_STATES, default: 'open' }) @IsOptional() @IsIn(DEAD_LETTER_STATES) state?: string;
}

/** `POST /ops/dead-letters/:id/replay`, with new data or none. */
export class ReplayBody {
  @ApiPropertyOptional({ type: 'object', additionalProperties: true, description: "replaces the event's whole data" })
  @IsOptional()
  @IsObject()
  data?: Record<string, unknown>;
}

/** `POST /ops/dead-letters/replay` */
export class ReplayAllBody {
  @ApiPropertyOptional() @IsOptional() @IsString() @MaxLength(255) group?: string;
  @ApiPropertyOptional() @IsOptional() @IsString() @MaxLength(255) type?: string;
  @ApiPropertyOptional() @IsOptional() @IsString() @MaxLength(255) key?: string;
  @ApiPropertyOptional({ format: 'date-time', description: 'only those that failed before' })
  @IsOptional()
  @Type(() => Date)
  @IsDate()
  before?: Date;
}

/** `POST /ops/dead-letters/:id/discard` */
export class DiscardBody {
  @ApiProperty({ minLength: 1, maxLength: 500 }) @IsString() @MinLength(1) @MaxLength(500) reason!: string;
}
