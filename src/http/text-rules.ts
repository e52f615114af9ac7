const LONGEST_SHOWN = 100;

/** Refused as names, because class-transformer and Nest would leave them out without a word. */
export const NAMES_OF_PROTOTYPES: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/** What is wrong with a text that PostgreSQL could not store or no UTF-8 could carry; undefined for every other. */
export function flawOf(text: string): string | undefined {
  if (text.includes('\0')) return 'must not contain U+0000';
  if (!text.isWellFormed()) return 'must not contain a lone surrogate';
  return undefined;
}

/** A member's name, fit to be shown in an answer. */
export function shownName(name: string): string {
  const shown = name.toWellFormed().replace(/\p{Cc}/gu, '\uFFFD');
  return shown.length > LONGEST_SHOWN ? `${shown.slice(0, LONGEST_SHOWN).toWellFormed()}…` : shown;
}
