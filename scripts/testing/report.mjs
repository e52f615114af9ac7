// @ts-check

/** The table of brokers: which ran, on what, and what to do about those that did not. @param {import('./test-servers.mjs').TestServer[]} servers */
export function brokerTable(servers) {
  const lines = servers.flatMap(({ name, server, reason, cure }) => {
    const row = `  ${name.padEnd(10)}${(server ? 'ran' : 'did not run').padEnd(13)}${server?.description ?? reason}`;
    return cure ? [row, `  ${''.padEnd(23)}to have it: ${cure}`] : [row];
  });
  return [`  ${'broker'.padEnd(10)}${'result'.padEnd(13)}server`, ...lines].join('\n');
}

/** The last line of a test run. @param {{ passed: number, failed: number, skipped: number }} counts */
export function lastLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
