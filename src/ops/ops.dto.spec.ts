import type { Type } from '@nestjs/common';
import { describe, expect, it } from '@jest/globals';
import { validationPipe } from '../http/index.js';
import { DeadLettersQuery, DiscardBody, ReplayAllBody, ReplayBody } from './ops.dto.js';

async function fieldsOf(metatype: Type, value: unknown): Promise<string[]> {
  const error = await validationPipe()
    .transform(value, { type: metatype === DeadLettersQuery ? 'query' : 'body', metatype })
    .then(
      () => undefined,
      (refusal: { status: number; errors: { field: string }[] }) => refusal,
    );
  if (error) expect(error.status).toBe(400);
  return [...new Set(error?.errors.map(({ field }) => field))];
}

describe('what an operator sends', () => {
  it.each<[string, Type, unknown]>([
    ['a replay without data', ReplayBody, {}],
    ['a replay with data', ReplayBody, { data: { any: ['thing'] } }],
    ['a replay of all', ReplayAllBody, {}],
    ['a replay of some', ReplayAllBody, { group: 'payment', type: 'a.b', key: 'k', before: '2026-11-25T10:00:00.000Z' }],
    ['a reason', DiscardBody, { reason: 'a test order' }],
    ['a filter', DeadLettersQuery, { state: 'replayed', limit: '100', key: 'k' }],
  ])('takes %s', async (_what, metatype, value) => {
    expect(await fieldsOf(metatype, value)).toEqual([]);
  });

  it.each<[string, Type, unknown, string]>([
    ['data that is a list', ReplayBody, { data: [1] }, 'data'],
    ['data that is null', ReplayBody, { data: null }, 'data'],
    ['data that is text', ReplayBody, { data: 'x' }, 'data'],
    ['an unknown member', ReplayBody, { dta: {} }, 'dta'],
    ['a group that is a number', ReplayAllBody, { group: 1 }, 'group'],
    ['a group that is null', ReplayAllBody, { group: null }, 'group'],
    ['a key of 256 characters', ReplayAllBody, { key: 'x'.repeat(256) }, 'key'],
    ['a day', ReplayAllBody, { before: '2026-11-25' }, 'before'],
    ['a week', ReplayAllBody, { before: '2026-W48' }, 'before'],
    ['a moment that never was', ReplayAllBody, { before: '2026-02-30T10:00:00Z' }, 'before'],
    ['a moment that is a number', ReplayAllBody, { before: 0 }, 'before'],
    ['no reason', DiscardBody, {}, 'reason'],
    ['an empty reason', DiscardBody, { reason: '' }, 'reason'],
    ['a reason of 501 characters', DiscardBody, { reason: 'x'.repeat(501) }, 'reason'],
    ['an unknown state', DeadLettersQuery, { state: 'lost' }, 'state'],
    ['a limit of 101', DeadLettersQuery, { limit: '101' }, 'limit'],
    ['a filter twice', DeadLettersQuery, { group: ['a', 'b'] }, 'group'],
  ])('refuses %s, naming the field', async (_what, metatype, value, field) => {
    expect(await fieldsOf(metatype, value)).toContain(field);
  });
});
