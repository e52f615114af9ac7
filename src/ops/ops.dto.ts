import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsIn, IsISO8601, IsObject, IsRFC3339, IsString, MaxLength, MinLength } from 'class-validator';
import { Omittable, PageQuery } from '../http/index.js';

export const DEAD_LETTER_STATES = ['open', 'replaying', 'replayed', 'discarded'] as const;

/** `GET /ops/dead-letters?group=&type=&key=&state=` */
export class DeadLettersQuery extends PageQuery {
  @ApiPropertyOptional() @Omittable() @IsString() @MaxLength(255) group?: string;
  @ApiPropertyOptional() @Omittable() @IsString() @MaxLength(255) type?: string;
  @ApiPropertyOptional() @Omittable() @IsString() @MaxLength(255) key?: string;
  @ApiPropertyOptional({ enum: DEAD_LETTER_STATES, default: 'open' }) @Omittable() @IsIn(DEAD_LETTER_STATES) state?: string;
}

/** `POST /ops/dead-letters/:id/replay`, with new data or none. */
export class ReplayBody {
  @ApiPropertyOptional({ type: 'object', additionalProperties: true, description: "replaces the event's whole data" })
  @Omittable()
  @IsObject()
  data?: Record<string, unknown>;
}

/** `POST /ops/dead-letters/replay` */
export class ReplayAllBody {
  @ApiPropertyOptional() @Omittable() @IsString() @MaxLength(255) group?: string;
  @ApiPropertyOptional() @Omittable() @IsString() @MaxLength(255) type?: string;
  @ApiPropertyOptional() @Omittable() @IsString() @MaxLength(255) key?: string;
  @ApiPropertyOptional({ format: 'date-time', description: 'only those that failed before' })
  @Omittable()
  @IsISO8601({ strict: true })
  @IsRFC3339()
  before?: string;
}

/** `POST /ops/dead-letters/:id/discard` */
export class DiscardBody {
  @ApiProperty({ minLength: 1, maxLength: 500 }) @IsString() @MinLength(1) @MaxLength(500) reason!: string;
}

class LaneAnswer {
  @ApiProperty({ type: 'integer' }) lane!: number;
  @ApiProperty({ type: String, nullable: true, description: 'the instance that leases it' }) owner!: string | null;
  @ApiProperty({ type: 'integer' }) backlog!: number;
}

/** `GET /ops/outbox` */
export class OutboxAnswer {
  @ApiProperty({ type: 'integer', description: 'events that are not yet proved to be with the broker' }) backlog!: number;
  @ApiProperty({ type: 'integer' }) oldestAgeMs!: number;
  @ApiProperty({ type: 'integer', description: 'keys whose first event the broker refuses' }) blockedKeys!: number;
  @ApiProperty({ type: [LaneAnswer] }) lanes!: readonly LaneAnswer[];
}

/** Of `GET /ops/groups` */
export class GroupAnswer {
  @ApiProperty() group!: string;
  @ApiProperty() topic!: string;
  @ApiProperty({ type: 'integer', nullable: true, description: 'null while the broker cannot tell' }) lag!: number | null;
  @ApiProperty({ type: 'integer', description: 'events that wait for a retry or behind another' }) parked!: number;
  @ApiProperty({ type: 'integer', description: 'open ones' }) deadLetters!: number;
  @ApiProperty() paused!: boolean;
  @ApiProperty({ example: 'running' }) state!: string;
}

/** What became of `POST /ops/groups/:group/pause` and `/resume` */
export class PausedAnswer {
  @ApiProperty() group!: string;
  @ApiProperty() paused!: boolean;
}

/** Of `GET /ops/parked` */
export class ParkedAnswer {
  @ApiProperty() group!: string;
  @ApiProperty() topic!: string;
  @ApiProperty() key!: string;
  @ApiProperty({ format: 'uuid' }) eventId!: string;
  @ApiProperty({ type: 'integer' }) attempts!: number;
  @ApiProperty({ type: String, format: 'date-time', nullable: true, description: 'null behind another event' }) nextAttemptAt!: Date | null;
  @ApiProperty() reason!: string;
}

/** Of `GET /ops/dead-letters` */
export class DeadLetterAnswer {
  @ApiProperty({ format: 'uuid' }) id!: string;
  @ApiProperty() group!: string;
  @ApiProperty() topic!: string;
  @ApiProperty() type!: string;
  @ApiProperty() key!: string;
  @ApiProperty({ format: 'uuid' }) eventId!: string;
  @ApiProperty({ example: 'attempts_exhausted' }) reason!: string;
  @ApiProperty({ type: 'integer' }) attempts!: number;
  @ApiProperty({ format: 'date-time' }) failedAt!: Date;
  @ApiProperty({ enum: DEAD_LETTER_STATES }) state!: string;
  @ApiProperty({ type: 'integer', description: 'events that are parked behind it' }) waiting!: number;
}

/** `GET /ops/dead-letters/:id` */
export class DeadLetterDetailAnswer extends DeadLetterAnswer {
  @ApiProperty({ description: 'the last failure, in words' }) error!: string;
  @ApiProperty({ type: 'integer' }) replays!: number;
  @ApiProperty({ type: 'object', additionalProperties: { type: 'string' } }) headers!: Record<string, string>;
  @ApiProperty({ description: 'the text as it was on the wire' }) payload!: string;
  @ApiPropertyOptional({ enum: ['base64'], description: 'of the payload, when it is not UTF-8' }) encoding?: 'base64';
}

/** What became of `POST /ops/dead-letters/:id/replay` and `/discard` */
export class DeadLetterStateAnswer {
  @ApiProperty({ format: 'uuid' }) id!: string;
  @ApiProperty({ enum: DEAD_LETTER_STATES }) state!: string;
}

/** What became of `POST /ops/dead-letters/replay` */
export class ReplayingAnswer {
  @ApiProperty({ type: 'integer', description: 'how many matched' }) replaying!: number;
}
