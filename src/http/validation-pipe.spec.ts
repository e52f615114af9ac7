import { describe, expect, it } from '@jest/globals';
import { Type } from 'class-transformer';
import { ArrayMaxSize, IsInt, IsOptional, IsString, ValidateNested } from 'class-validator';
import { ProblemError } from './problem-error.js';
import { validationPipe } from './validation-pipe.js';

class Line {
  @IsString() sku!: string;
  @IsInt() quantity!: number;
}

/** With no more decorators than a newcomer thinks of. */
class Body {
  @ArrayMaxSize(100) @ValidateNested({ each: true }) @Type(() => Line) lines!: Line[];
  @IsOptional() @ValidateNested() @Type(() => Line) extra?: Line;
}

class Query {
  @IsOptional() @IsString() colour?: string;
}

const line = { sku: 'tea', quantity: 1 };

async function fieldsOf(body: unknown): Promise<string[]> {
  try {
    await validationPipe().transform(body, { type: 'body', metatype: Body });
  } catch (error) {
    if (error instanceof ProblemError) return error.errors.map(({ field }) => field);
    throw error;
  }
  return [];
}

describe('validationPipe', () => {
  it('makes instances, nested ones too', async () => {
    const body = (await validationPipe().transform({ lines: [line], extra: line }, { type: 'body', metatype: Body })) as Body;
    expect(body).toBeInstanceOf(Body);
    expect(body.lines[0]).toBeInstanceOf(Line);
    expect(body.extra).toBeInstanceOf(Line);
  });

  it.each<[string, unknown, string[]]>([
    ['an unknown member', { lines: [], status: 'paid' }, ['status']],
    ['an unknown member of a line', { lines: [{ ...line, price: 1 }] }, ['lines.0.price']],
    ['several at once', { lines: [{ sku: 1, quantity: '1' }], x: 1 }, ['x', 'lines.0.sku', 'lines.0.quantity']],
    ['null among objects', { lines: [line, null] }, ['lines.1']],
    ['an array among objects', { lines: [line, [line]] }, ['lines.1']],
    ['an empty array among objects', { lines: [[]] }, ['lines.0']],
    ['a text among objects', { lines: ['tea'] }, ['lines.0']],
    ['an object for an array', { lines: line }, ['lines']],
    ['an object that looks like an array', { lines: { length: 1, 0: line } }, ['lines']],
    ['an array for an object', { lines: [], extra: [line] }, ['extra']],
    ['an empty array for an object', { lines: [], extra: [] }, ['extra']],
    ['constructor', { lines: [], constructor: 1 }, ['constructor']],
    ['hasOwnProperty', { lines: [], hasOwnProperty: 1 }, ['hasOwnProperty']],
    ['toString in a line', { lines: [{ ...line, toString: 1 }] }, ['lines.0.toString']],
    ['isPrototypeOf in a line', { lines: [{ ...line, isPrototypeOf: 1 }] }, ['lines.0.isPrototypeOf']],
    ['nothing', undefined, ['lines']],
  ])('refuses %s', async (_what, body, fields) => {
    const found = await fieldsOf(body);
    for (const field of fields) expect(found).toContain(field);
  });

  it('refuses inherited names in a query too', async () => {
    await expect(validationPipe().transform({ constructor: '1' }, { type: 'query', metatype: Query })).rejects.toMatchObject({
      status: 400,
    });
  });

  it.each([null, [], 'text', 1])('refuses a body that is %j', async (body) => {
    await expect(validationPipe().transform(body, { type: 'body', metatype: Body })).rejects.toMatchObject({ status: 400 });
  });

  it('names 50 fields at most', async () => {
    const found = await fieldsOf({ lines: Array.from({ length: 1000 }, () => [line]) });
    expect(found.length).toBeGreaterThan(0);
    expect(found.length).toBeLessThanOrEqual(50);
  });
});
