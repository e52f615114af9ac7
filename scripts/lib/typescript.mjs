// @ts-check
import { transformSync } from '@swc/core';
import fs from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { inRoot } from './root.mjs';

/** Lets Node run TypeScript that has decorators: `node --import ./scripts/lib/typescript.mjs file.ts`. What is of src/ comes from dist/, as it is deployed. */
const source = pathToFileURL(inRoot('src') + '/').href;
const built = pathToFileURL(inRoot('dist') + '/').href;
const packages = pathToFileURL(inRoot('node_modules') + '/').href;
const options = JSON.parse(fs.readFileSync(inRoot('.swcrc'), 'utf8'));

registerHooks({
  resolve(specifier, context, next) {
    if (!specifier.startsWith('.') || !context.parentURL || context.parentURL.startsWith(packages)) return next(specifier, context);
    const url = new URL(specifier, context.parentURL).href;
    if (url.startsWith(source)) return next(built + url.slice(source.length), context);
    const typed = url.replace(/\.js$/, '.ts');
    return next(typed !== url && fs.existsSync(fileURLToPath(typed)) ? typed : specifier, context);
  },
  load(url, context, next) {
    if (!url.endsWith('.ts') || url.startsWith(packages)) return next(url, context);
    const filename = fileURLToPath(url);
    const { code } = transformSync(fs.readFileSync(filename, 'utf8'), { ...options, swcrc: false, filename, sourceMaps: 'inline' });
    return { format: 'module', source: code, shortCircuit: true };
  },
});
