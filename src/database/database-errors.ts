const CONFLICTS = new Set(['40001', '40P01']);
const UNAVAILABLE = /^(08...|57P0[1-5]|53...|25006|55000|58...|XX...)$/;
const CONNECTION = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENOTFOUND', 'EAI_AGAIN']);
const PRISMA_UNAVAILABLE = new Set(['P1000', 'P1001', 'P1002', 'P1003', 'P1008', 'P1010', 'P1011', 'P1017', 'P2024', 'P2037']);
const PG_MESSAGES =
  /Connection terminated|timeout exceeded when trying to connect|timeout expired|Query read timeout|Client has encountered a connection error|not queryable|Cannot use a pool after calling end/;

/** A deadlock or serialization conflict: the same transaction, run again, can succeed. */
export function isRetryableConflict(error: unknown): boolean {
  return chain(error).some((link) => link['code'] === 'P2034' || CONFLICTS.has(sqlState(link) ?? ''));
}

/** A prepared statement is not there, is there already, or its result has changed its shape since (a migration): without preparing, it works. */
export function isStatementLost(error: unknown): boolean {
  return chain(error).some((link) => {
    const state = sqlState(link);
    if (state === '0A000') return /cached plan must not change result type/.test(String(link['message'] ?? ''));
    return state === '26000' || state === '42P05';
  });
}

/** The transaction ran past its time: the work in it was slow, or the database did not answer. */
export function isTransactionExpired(error: unknown): boolean {
  return chain(error).some(
    ({ code, message }) =>
      code === 'DATABASE.TRANSACTION_ENDED' || (code === 'P2028' && /expired transaction|already closed/i.test(String(message ?? ''))),
  );
}

/** A lock was not to be had within the `lock_timeout` that the statement was given. */
export function isLockTimeout(error: unknown): boolean {
  return chain(error).some((link) => sqlState(link) === '55P03');
}

/** PostgreSQL ended a statement at its `statement_timeout`: it waited for a lock, or was slow. */
export function isStatementTimeout(error: unknown): boolean {
  return chain(error).some((link) => sqlState(link) === '57014');
}

/**
 * The database could not be reached, was restarting, read-only, full, or had no connection to give: no fault of
 * the work that met it. Network errors count only when they come out of Prisma or pg, never a handler's own calls.
 */
export function isDatabaseUnavailable(error: unknown): boolean {
  const links = chain(error);
  const fromDatabase = links.some((link) => isDatabaseError(link));
  return links.some((link) => {
    const code = typeof link['code'] === 'string' ? link['code'] : '';
    if (PRISMA_UNAVAILABLE.has(code) && fromDatabase) return true;
    if (UNAVAILABLE.test(sqlState(link) ?? '')) return true;
    if (code === 'P2028' && /Unable to start a transaction/.test(String(link['message'] ?? ''))) return true;
    if (!fromDatabase) return false;
    const kind = link['kind'];
    if (kind === 'DatabaseNotReachable' || kind === 'SocketTimeout' || kind === 'ConnectionClosed' || kind === 'TooManyConnections')
      return true;
    return CONNECTION.has(code) || PG_MESSAGES.test(String(link['message'] ?? ''));
  });
}

/** A connection that was refused, broken or not answered, whoever's it was. */
export function isNetworkError(error: unknown): boolean {
  return chain(error).some((link) => CONNECTION.has(String(link['code'])));
}

function isDatabaseError(link: Record<string, unknown>): boolean {
  const name = String(link['name'] ?? '');
  return (
    name.startsWith('Prisma') ||
    name === 'DriverAdapterError' ||
    'routine' in link ||
    PG_MESSAGES.test(String(link['message'] ?? '')) ||
    String(link['stack'] ?? '').includes('node_modules/pg')
  );
}

function sqlState(link: Record<string, unknown>): string | undefined {
  for (const name of ['originalCode', 'code']) {
    const value = link[name];
    if (typeof value === 'string' && /^[0-9A-Z]{5}$/.test(value) && !value.startsWith('P1') && !value.startsWith('P2')) return value;
  }
  return undefined;
}

/** The error, its causes, and what Prisma keeps in `meta` of the driver's error. */
function chain(error: unknown): Record<string, unknown>[] {
  const links: Record<string, unknown>[] = [];
  const queue: unknown[] = [error];
  while (queue.length > 0 && links.length < 16) {
    const link = queue.shift();
    if (typeof link !== 'object' || link === null || links.includes(link as Record<string, unknown>)) continue;
    const record = link as Record<string, unknown>;
    links.push(record);
    const meta = record['meta'] as Record<string, unknown> | undefined;
    queue.push(record['cause'], meta?.['driverAdapterError'], ...(link instanceof AggregateError ? link.errors : []));
  }
  return links;
}
