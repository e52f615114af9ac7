// @ts-check
import { ensureInstalled } from './lib/ensure-installed.mjs';
import { main } from './lib/main.mjs';

await main(async () => {
  await ensureInstalled();
  const { writeMigration } = await import('./migration/write-migration.mjs');
  await writeMigration(process.argv[2]);
});
