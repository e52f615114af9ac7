import { ApiPropertyOptional } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { IsInt, IsOptional, IsString, Max, MaxLength, Min } from 'class-validator';
import { invalidRequest } from './problem-error.js';
import { flawOf } from './text-rules.js';

const LIMIT = 'limit must be a whole number from 1 to 100';

/** `?cursor=&limit=` of every list; a list with filters extends it. */
export class PageQuery {
  @ApiPropertyOptional({ description: 'nextCursor of the page before' })
  @IsOptional()
  @IsString()
  @MaxLength(1024)
  cursor?: string;

  @ApiPropertyOptional({ type: 'integer', minimum: 1, maximum: 100, default: 50 })
  @Transform(({ value }: { value: unknown }) => (typeof value === 'string' && /^[1-9]\d{0,2}$/.test(value) ? Number(value) : value))
  @IsInt({ message: LIMIT })
  @Min(1, { message: LIMIT })
  @Max(100, { message: LIMIT })
  limit: number = 50;
}

/** What every list answers; `nextCursor` is null at the end. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly nextCursor: string | null;
}

/** A page of what was read with one row more than the limit; that row only tells that there is more. */
export function pageOf<T>(rows: readonly T[], limit: number, cursorOf: (last: T) => readonly string[]): Page<T> {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return { items, nextCursor: rows.length > limit && last !== undefined ? encodeCursor(cursorOf(last)) : null };
}

/** A place in a list, opaque to clients. */
export function encodeCursor(parts: readonly string[]): string {
  return Buffer.from(JSON.stringify(parts)).toString('base64url');
}

/**
 * What `encodeCursor` was given; undefined where there is no cursor.
 * @throws ProblemError 400 naming `cursor`, where it is none of this list
 */
export function decodeCursor(
  cursor: string | undefined,
  isValid: (parts: readonly string[]) => boolean = () => true,
): string[] | undefined {
  if (cursor === undefined) return undefined;
  const parts = read(cursor);
  if (!parts || parts.some((part) => flawOf(part) !== undefined) || !isValid(parts)) {
    throw invalidRequest([{ field: 'cursor', message: 'must be a nextCursor of the same list' }]);
  }
  return parts;
}

function read(cursor: string): string[] | undefined {
  if (!/^[A-Za-z0-9_-]+$/.test(cursor)) return undefined;
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    return Array.isArray(parts) && parts.every((part): part is string => typeof part === 'string') ? parts : undefined;
  } catch {
    return undefined;
  }
}
