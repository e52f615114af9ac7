// @ts-check
import fs from 'node:fs';
import { bundledNode } from './lib/bundled-node.mjs';
import { contentHash } from './lib/content-hash.mjs';
import { ensureInstalled } from './lib/ensure-installed.mjs';
import { ofThisClone, withLock } from './lib/lock.mjs';
import { isMain, main } from './lib/main.mjs';
import { run } from './lib/processes.mjs';
import { progress } from './lib/progress.mjs';
import { inRoot, root } from './lib/root.mjs';

const GENERATED = 'src/database/generated';
const SOURCES = ['src', 'tsconfig.json', 'tsconfig.build.json', 'nest-cli.json', '.swcrc'];

/** Makes the database client from prisma/, when it does not exist or prisma/ has changed since. @param {{ force?: boolean }} [options] */
export async function generate({ force = false } = {}) {
  await withLock(ofThisClone('generate'), async () => {
    const stamp = inRoot(GENERATED, '.made-from');
    const hash = schemaHash();
    if (!force && hasContent(stamp, hash)) return;
    const line = progress('generating the database client');
    try {
      await runPrismaGenerate();
      fs.writeFileSync(stamp, hash);
      line.done('generated the database client');
    } catch (error) {
      line.fail();
      throw error;
    }
  });
}

/** Makes the database client of the benchmarks' baseline application. */
export async function generateBaseline() {
  await withLock(ofThisClone('generate'), async () => {
    const stamp = inRoot('bench/baseline/generated', '.made-from');
    const hash = contentHash(['bench/baseline/schema.prisma', 'package.json'], () => true);
    if (hasContent(stamp, hash)) return;
    await runPrismaGenerate(['--schema', inRoot('bench/baseline/schema.prisma')]);
    fs.writeFileSync(stamp, hash);
  });
}

/** Makes dist/, when it does not exist or what it is made from has changed since. @param {{ force?: boolean }} [options] */
export async function build({ force = false } = {}) {
  if (!force && isBuilt()) return;
  await generate({ force });
  await withLock(ofThisClone('build'), async () => {
    if (!force && isBuilt()) return;
    const line = progress('building');
    const hash = sourceHash();
    try {
      await runTool('@nestjs/cli/bin/nest.js', ['build']);
      if (!fs.existsSync(inRoot('dist', 'main.js'))) throw new Error('nest build ended well, but made no dist/main.js: see nest-cli.json.');
      fs.writeFileSync(inRoot('dist', '.made-from'), hash);
      line.done('built');
    } catch (error) {
      line.fail();
      throw error;
    }
  });
}

/** Whether dist/ is what the sources of now would give; a deployment without sources counts as built. */
export function isBuilt() {
  if (!fs.existsSync(inRoot('dist', 'main.js'))) return false;
  if (!fs.existsSync(inRoot('src'))) return true;
  const prismaIsHere = fs.existsSync(inRoot('prisma', 'schema.prisma'));
  const clientIsNew = !prismaIsHere || hasContent(inRoot(GENERATED, '.made-from'), schemaHash());
  return clientIsNew && hasContent(inRoot('dist', '.made-from'), sourceHash());
}

const schemaHash = () => contentHash(['prisma', 'prisma.config.ts', 'package.json'], (file) => !file.endsWith('.sql'));

const sourceHash = () => contentHash(SOURCES, (file) => !file.endsWith('.spec.ts') && !file.endsWith('/.made-from'));

/** @param {string} file @param {string} content */
function hasContent(file, content) {
  return fs.existsSync(file) && fs.readFileSync(file, 'utf8') === content;
}

/** @param {string[]} [args] */
function runPrismaGenerate(args = []) {
  return runTool('prisma/build/index.js', ['generate', ...args], {
    // Prisma checks that this program is there, and does not run it.
    PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
    PRISMA_HIDE_UPDATE_MESSAGE: '1',
    CHECKPOINT_DISABLE: '1',
  });
}

/** Runs a tool of node_modules, silent unless it fails. @param {string} script @param {string[]} args @param {NodeJS.ProcessEnv} [env] */
function runTool(script, args, env) {
  return run(bundledNode(), [inRoot('node_modules', ...script.split('/')), ...args], { cwd: root, env: { ...process.env, ...env } });
}

if (isMain(import.meta.url)) {
  await main(async () => {
    await ensureInstalled();
    await build({ force: process.argv.includes('--force') });
  });
}
