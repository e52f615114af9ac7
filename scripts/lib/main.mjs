// @ts-check
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { followNpm } from './follow-npm.mjs';

/** Whether this module is the script that was started, not one that another imports. @param {string} url its `import.meta.url` */
export function isMain(url) {
  const started = process.argv[1];
  if (!started) return false;
  const file = fileURLToPath(url);
  return [path.resolve(started), path.resolve(`${started}.mjs`)].some((name) => fs.existsSync(name) && fs.realpathSync(name) === file);
}

/** Runs a script to its exit code; what goes wrong is shown as one message without a stack. @param {() => Promise<number | void>} work */
export async function main(work) {
  followNpm();
  try {
    process.exitCode = (await work()) ?? 0;
  } catch (error) {
    process.stderr.write(`${process.env['DEBUG'] ? String(/** @type {Error} */ (error).stack) : /** @type {Error} */ (error).message}\n`);
    process.exitCode = 1;
  }
}
