// @ts-check

/** @param {string} text */
export function heading(text) {
  process.stdout.write(`\n${text}\n`);
}

/** @param {{ amount: number, currency: string }} money */
export function money({ amount, currency }) {
  return `${(amount / 100).toFixed(2)} ${currency}`;
}

/** @param {string[]} titles @param {string[][]} rows */
export function table(titles, rows) {
  const widths = titles.map((title, column) => Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)));
  for (const row of [titles, ...rows]) {
    process.stdout.write(`  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd() + '\n');
  }
}

/** What became of a delivery, by the log line that tells it. @type {Record<string, string>} */
const OUTCOMES = {
  handled: '',
  'the handler failed': 'failed, will be tried again',
  'parked behind an earlier event of its key': 'waits behind an earlier one',
  'dead letter: a person must replay or discard it': 'DEAD LETTER',
};

/**
 * One aligned line for an event that a module has handled; undefined for any other log line.
 * @param {Record<string, unknown>} entry @param {number} sinceMs @param {string} title
 */
export function eventLine(entry, sinceMs, title) {
  const outcome = OUTCOMES[String(entry['msg'])];
  if (outcome === undefined) return undefined;
  return [
    `${String(sinceMs).padStart(7)} ms`,
    String(entry['group']).padEnd(9),
    String(entry['type']).padEnd(26),
    String(entry['key']).slice(-6),
    `attempt ${entry['attempt'] ?? '–'}`,
    title.padEnd(25),
    outcome,
  ]
    .join('  ')
    .trimEnd();
}
