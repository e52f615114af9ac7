// @ts-check
import { ensureInstalled } from './lib/ensure-installed.mjs';
import { main } from './lib/main.mjs';

await main(async () => {
  await ensureInstalled();
  const { runDemo } = await import('./demo/demo-run.mjs');
  process.exitCode = await runDemo(process.argv.slice(2));
});
