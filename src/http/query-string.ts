import { invalidRequest } from './problem-error.js';
import { flawOf, NAMES_OF_PROTOTYPES, shownName } from './text-rules.js';

/**
 * The parameters of a request target, each a string.
 * @throws ProblemError 400 for one that is repeated, is not UTF-8, or holds what no stored text can
 */
export function parseQuery(target: string): Record<string, string> {
  const start = target.indexOf('?');
  const parameters = new Map<string, string>();
  for (const pair of start === -1 ? [] : target.slice(start + 1).split('&')) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    const rawName = equals === -1 ? pair : pair.slice(0, equals);
    const name = decode(rawName);
    const field = shownName(name ?? rawName);
    const value = equals === -1 ? '' : decode(pair.slice(equals + 1));
    if (name === undefined || value === undefined) throw invalidRequest([{ field, message: 'must be percent-encoded UTF-8' }]);
    const flaw = flawOf(name) ?? flawOf(value);
    if (flaw !== undefined) throw invalidRequest([{ field, message: flaw }]);
    if (parameters.has(name)) throw invalidRequest([{ field, message: 'must be given once' }]);
    if (NAMES_OF_PROTOTYPES.has(name)) throw invalidRequest([{ field, message: 'is not a name that a parameter may have' }]);
    parameters.set(name, value);
  }
  return Object.fromEntries(parameters);
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return undefined;
  }
}
