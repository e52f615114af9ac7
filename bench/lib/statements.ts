import type { FreshDatabase } from '../../test/support/fresh-database.js';

/** Whether it was asked which statements PostgreSQL's time is spent on. */
const asked = process.env['BENCH_STATEMENTS'] !== undefined;
const MOST = 10;

/** What PostgreSQL has to be started with to tell. */
export const STATEMENT_SETTINGS: Readonly<Record<string, string>> = asked
  ? { shared_preload_libraries: 'pg_stat_statements', 'pg_stat_statements.track_planning': 'on' }
  : {};

/** Does the work, then tells which statements took most, in milliseconds of all calls. */
export async function tellingStatements<T>(database: FreshDatabase, say: (text: string) => void, work: () => Promise<T>): Promise<T> {
  if (!asked) return work();
  await database.query('CREATE EXTENSION IF NOT EXISTS pg_stat_statements');
  await database.query('SELECT pg_stat_statements_reset()');
  const result = await work();
  const rows = await database.query<{ calls: string; ms: string; planning: string; each: string; rows: string; text: string }>(
    `SELECT calls, round((total_exec_time + total_plan_time)::numeric) AS ms, round(total_plan_time::numeric) AS planning,
       round((total_exec_time + total_plan_time)::numeric * 1000 / greatest(calls, 1)) AS each, rows, left(regexp_replace(query, '\\s+', ' ', 'g'), 100) AS text
     FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
     ORDER BY total_exec_time + total_plan_time DESC LIMIT ${MOST}`,
  );
  for (const { calls, ms, planning, each, rows: found, text } of rows)
    say(`  ${ms} ms (planning ${planning}) in ${calls} calls of ${each} µs, ${found} rows: ${text}`);
  return result;
}
