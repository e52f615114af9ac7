/** A member of the request that is at fault, by its path: `items.0.quantity`. The message never holds the value. */
export interface FieldError {
  readonly field: string;
  readonly message: string;
}

export interface ProblemOptions {
  readonly errors?: readonly FieldError[];
  /** Of the answer, such as `retry-after`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Further members of the problem document. */
  readonly extensions?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** What a client is told, as a problem document (RFC 9457): every word of it is seen outside, so it holds no secret and no request value. */
export class ProblemError extends Error {
  readonly errors: readonly FieldError[];
  readonly headers: Readonly<Record<string, string>>;
  readonly extensions: Readonly<Record<string, unknown>>;

  constructor(
    readonly status: number,
    readonly code: string,
    readonly title: string,
    readonly detail: string,
    { errors = [], headers = {}, extensions = {}, cause }: ProblemOptions = {},
  ) {
    super(`${title}: ${detail}`, cause === undefined ? undefined : { cause });
    this.name = 'ProblemError';
    this.errors = errors;
    this.headers = headers;
    this.extensions = extensions;
  }
}

/** 400 for a request whose members break the rules. */
export function invalidRequest(errors: readonly FieldError[]): ProblemError {
  const named = [...new Set(errors.map(({ field }) => field))].slice(0, 5).join(', ');
  return new ProblemError(400, 'INVALID_REQUEST', 'The request is not valid', `Correct what "errors" lists: ${named}.`, { errors });
}

/** 400 for a body that is no JSON, or JSON of a kind that is refused as a whole. */
export function malformedBody(detail: string): ProblemError {
  return new ProblemError(400, 'MALFORMED_BODY', 'The body cannot be read', detail);
}
