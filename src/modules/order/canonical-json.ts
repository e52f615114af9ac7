import { createHash } from 'node:crypto';

/** JSON in which equal values have equal text: members in order of their names, none that is undefined. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_member, inner: unknown) => {
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

/** What a request is recognised by when it comes again; it does not tell what the request held. */
export function fingerprint(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex');
}
