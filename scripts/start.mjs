// @ts-check
import { build, isBuilt } from './build.mjs';
import { bundledNode, runInstead } from './lib/bundled-node.mjs';
import { ensureInstalled } from './lib/ensure-installed.mjs';
import { main } from './lib/main.mjs';
import { inRoot } from './lib/root.mjs';

await main(async () => {
  // A deployment that is built needs no compiler.
  await ensureInstalled({ development: !isBuilt(), reexecute: false });
  await build();
  await runInstead(bundledNode(), ['--enable-source-maps', inRoot('dist', 'main.js'), ...process.argv.slice(2)]);
});
