// @ts-check
import { ensureInstalled } from './lib/ensure-installed.mjs';
import { main } from './lib/main.mjs';

await main(async () => {
  await ensureInstalled();
  const { testMutants } = await import('./mutants/run-mutants.mjs');
  return testMutants(process.argv.slice(2));
});
