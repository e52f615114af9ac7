import { STATUS_CODES } from 'node:http';
import type { ProblemError } from './problem-error.js';

export const PROBLEM_JSON = 'application/problem+json';

/** RFC 9457; `type` is about:blank where the status says all there is to say. */
export interface ProblemDocument {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail?: string;
  readonly errors?: readonly { readonly field: string; readonly message: string }[];
  readonly [extension: string]: unknown;
}

const DETAILS: Readonly<Record<number, string>> = {
  400: 'The request cannot be understood.',
  404: 'There is nothing at this address.',
  408: 'The request took too long to arrive.',
  413: 'The body is larger than 1 MiB.',
  414: 'The address is too long.',
  415: 'Send the body as application/json, in UTF-8 and not compressed.',
  417: 'The server cannot do what the Expect header asks for.',
  431: 'The header fields are too large.',
  500: 'The server met a condition it was not prepared for. The answer has its correlation id in x-correlation-id.',
  503: 'The server cannot do this at the moment. Try again a little later.',
};

/** The document for what a status alone says. */
export function documentOfStatus(status: number): ProblemDocument {
  const detail = DETAILS[status];
  return { type: 'about:blank', title: STATUS_CODES[status] ?? 'Error', status, ...(detail !== undefined && { detail }) };
}

export function documentOf({ status, code, title, detail, errors, extensions }: ProblemError): ProblemDocument {
  return { ...extensions, type: `urn:waybill:problem:${code}`, title, status, detail, ...(errors.length > 0 && { errors }) };
}
