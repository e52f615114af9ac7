import { IsInt, IsString, IsUUID } from 'class-validator';
import { DefineEvent } from '../../src/messaging/index.js';

/** The event of the benchmarks: the n-th thing that happened to something, about 300 bytes of data. */
@DefineEvent({ type: 'bench.thing.happened', key: 'thingId' })
export class ThingHappened {
  @IsUUID() readonly thingId!: string;
  @IsInt() readonly n!: number;
  @IsString() readonly text!: string;
}

export const THING_TOPIC = 'bench.thing';
export const THING_TYPE = 'bench.thing.happened';

interface RawExecutor {
  $executeRaw(query: TemplateStringsArray, ...values: unknown[]): Promise<number>;
}

/** The tables of the effect: what each group has done with each key, and whether it was in order. */
export const EFFECT_TABLE = `
  CREATE TABLE bench_effect (
    group_name text, key uuid, handled int NOT NULL DEFAULT 0, last int NOT NULL DEFAULT 0, disorder int NOT NULL DEFAULT 0,
    PRIMARY KEY (group_name, key)
  ) WITH (fillfactor = 50)`;

/** The one update that every consumer of the benchmarks makes; it counts, and notes what came out of its turn. */
export async function countHandled(tx: RawExecutor, group: string, key: string, n: number): Promise<void> {
  await tx.$executeRaw`
    UPDATE bench_effect SET handled = handled + 1, disorder = disorder + (last <> ${n}::int - 1)::int, last = ${n}::int
    WHERE group_name = ${group} AND key = ${key}::uuid`;
}

/** The same for many events at once, in order: one statement. */
export async function countAllHandled(tx: RawExecutor, group: string, events: readonly { thingId: string; n: number }[]): Promise<void> {
  await tx.$executeRaw`
    WITH came AS (
      SELECT key, n, n - 1 - coalesce(lag(n) OVER (PARTITION BY key ORDER BY position), first.last) <> 0 AS disorder, position
      FROM unnest(${events.map(({ thingId }) => thingId)}::uuid[], ${events.map(({ n }) => n)}::int[]) WITH ORDINALITY AS e(key, n, position)
      JOIN bench_effect first USING (key) WHERE first.group_name = ${group}
    ), summed AS (
      SELECT key, count(*)::int AS handled, (array_agg(n ORDER BY position DESC))[1] AS last, count(*) FILTER (WHERE disorder)::int AS disorder
      FROM came GROUP BY key
    )
    UPDATE bench_effect e SET handled = e.handled + s.handled, last = s.last, disorder = e.disorder + s.disorder
    FROM summed s WHERE e.group_name = ${group} AND e.key = s.key`;
}
