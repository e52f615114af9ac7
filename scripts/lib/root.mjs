// @ts-check
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder, whatever folder a script is called from. */
export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/[\\/]$/, '');

/** A path inside the project. @param {...string} parts */
export const inRoot = (...parts) => path.join(root, ...parts);
