// @ts-check
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { inRoot } from './root.mjs';

/** One hash of the content of files and folders of the project; what does not exist counts as empty. @param {string[]} names @param {(file: string) => boolean} [wanted] */
export function contentHash(names, wanted = () => true) {
  const hash = createHash('sha256');
  for (const file of names.flatMap(filesIn).filter(wanted).sort()) {
    const content = fs.readFileSync(inRoot(file));
    hash.update(`${file}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}

/** @param {string} name @returns {string[]} paths inside the project, with slashes */
function filesIn(name) {
  const found = fs.statSync(inRoot(name), { throwIfNoEntry: false });
  if (!found) return [];
  if (found.isFile()) return [name];
  return fs
    .readdirSync(inRoot(name), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(inRoot(), path.join(entry.parentPath, entry.name)).split(path.sep).join('/'));
}
