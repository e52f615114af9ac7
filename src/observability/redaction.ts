const SECRET_NAME = /^(payment_?token|note|cookie|set-cookie|token|.*(authorization|password|passphrase|secret|ops_?token|api_?key))$/i;
const USERINFO = /\b([a-z][a-z0-9+.-]*:\/\/)[^\s/?#"'\\]*@/gi;
const STACK_FRAME = /^\s+at /;
const CENSORED = '[redacted]';
const MAX_DEPTH = 6;
const MAX_CAUSES = 5;

/** The text with user and password taken out of every URL in it. */
export function withoutUserinfo(text: string): string {
  return text.includes('@') ? text.replace(USERINFO, '$1…@') : text;
}

/** A copy for the log: members with the names of secrets are censored at any depth, errors reduced to what names the fault. */
export function redacted(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return redactMembers(fields, 0, [fields]);
}

/**
 * An error's name, message, code, stack and causes, and nothing else: drivers hang the values they were given
 * on their errors.
 */
export function errorFields(error: Error, causes = 0): Record<string, unknown> {
  const { code, cause } = error as { code?: unknown; cause?: unknown };
  const message = messageOf(error);
  const frames = (error.stack ?? '').split('\n').filter((line) => STACK_FRAME.test(line));
  return {
    type: error.name,
    message,
    ...((typeof code === 'string' || typeof code === 'number') && { code }),
    stack: [`${error.name}: ${message}`, ...frames].join('\n'),
    ...(cause instanceof Error && causes < MAX_CAUSES && { cause: errorFields(cause, causes + 1) }),
  };
}

/** An error's message without user and password of a URL, and without the values that Prisma quotes. */
export function messageOf({ name, message }: Error): string {
  // Prisma quotes the whole invocation, values included; what is wrong stands in the last lines.
  const told = name.startsWith('PrismaClient') ? message.slice(message.lastIndexOf('\n\n') + 1).trim() : message;
  return withoutUserinfo(told);
}

function redactMembers(fields: object, depth: number, above: readonly object[]): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      SECRET_NAME.test(name) && value !== undefined && value !== null ? CENSORED : redactValue(value, depth + 1, above),
    ]),
  );
}

function redactValue(value: unknown, depth: number, above: readonly object[]): unknown {
  if (typeof value === 'string') return withoutUserinfo(value);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (value instanceof Error) return errorFields(value);
  if (above.includes(value)) return '[circular]';
  if (Buffer.isBuffer(value)) return `[${value.length} bytes]`;
  if (depth > MAX_DEPTH) return '[too deep]';
  if (Array.isArray(value)) return value.map((entry) => redactValue(entry, depth + 1, [...above, value]));
  return redactMembers(value, depth, [...above, value]);
}
