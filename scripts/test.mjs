// @ts-check
import { ensureInstalled } from './lib/ensure-installed.mjs';
import { main } from './lib/main.mjs';

await main(async () => {
  await ensureInstalled();
  const { test } = await import('./testing/test-run.mjs');
  return test(process.argv.slice(2));
});
