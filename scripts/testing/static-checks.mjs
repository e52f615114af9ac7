// @ts-check
import fs from 'node:fs';
import { run } from '../lib/processes.mjs';
import { progress, seconds } from '../lib/progress.mjs';
import { inRoot, root } from '../lib/root.mjs';

/** `configuration`: the check is made where this file exists. */
const CHECKS = [
  { name: 'types', script: 'typescript/bin/tsc', args: ['--noEmit'], configuration: 'tsconfig.json' },
  { name: 'lint', script: 'oxlint/bin/oxlint', args: ['--type-aware'], configuration: '.oxlintrc.json' },
  { name: 'format', script: 'prettier/bin/prettier.cjs', args: ['--check', '.'], configuration: 'package.json' },
  {
    name: 'module boundaries',
    script: 'dependency-cruiser/bin/dependency-cruise.mjs',
    args: ['--config', '.dependency-cruiser.cjs', 'src'],
    configuration: '.dependency-cruiser.cjs',
  },
];

/** Makes the checks that need no running code; answers which passed and which failed, and shows what the failed ones printed. */
export async function staticChecks() {
  const checks = CHECKS.filter(({ configuration }) => fs.existsSync(inRoot(configuration)));
  const line = progress(`checking ${checks.map(({ name }) => name).join(', ')}`);
  /** @type {string[]} */
  const passed = [];
  /** @type {string[]} */
  const failed = [];
  await Promise.all(
    checks.map(async ({ name, script, args }) => {
      const start = Date.now();
      try {
        await run(process.execPath, [inRoot('node_modules', ...script.split('/')), ...args], { cwd: root });
        passed.push(name);
        line.note(`  ${name}: passed (${seconds(Date.now() - start)})`);
      } catch (error) {
        failed.push(name);
        line.note(`  ${name}: FAILED\n${/** @type {Error} */ (error).message}`);
      }
    }),
  );
  if (failed.length > 0) line.fail(`checked: ${failed.join(', ')} failed`);
  else line.done('checked');
  return { passed, failed };
}
