// @ts-check
import { pathToFileURL } from 'node:url';
import { bundledNode, runInstead } from './lib/bundled-node.mjs';
import { ensureInstalled } from './lib/ensure-installed.mjs';
import { main } from './lib/main.mjs';
import { inRoot } from './lib/root.mjs';

await main(async () => {
  await ensureInstalled();
  const { build, generateBaseline } = await import('./build.mjs');
  await build();
  await generateBaseline();
  const loader = pathToFileURL(inRoot('scripts', 'lib', 'typescript.mjs')).href;
  // The bare client and the tutorial way have kafkajs as it is, whose timers Node warns of.
  const quiet = '--disable-warning=TimeoutNegativeWarning';
  await runInstead(bundledNode(), [
    '--enable-source-maps',
    quiet,
    '--import',
    loader,
    inRoot('bench', 'main.ts'),
    ...process.argv.slice(2),
  ]);
});
