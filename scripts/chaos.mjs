// @ts-check
import { ensureInstalled } from './lib/ensure-installed.mjs';
import { main } from './lib/main.mjs';

await main(async () => {
  await ensureInstalled();
  const { chaos } = await import('./testing/chaos-run.mjs');
  return chaos(process.argv.slice(2));
});
