// @ts-check
import { ensureInstalled } from './lib/ensure-installed.mjs';
import { main } from './lib/main.mjs';

await main(async () => {
  await ensureInstalled();
  const { testFaults } = await import('./testing/fault-run.mjs');
  return testFaults(process.argv.slice(2));
});
