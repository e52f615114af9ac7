// @ts-check
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** The folder for downloads that outlive a clone: the user's cache, or the temp folder where that cannot be written. */
export function cacheDir() {
  for (const dir of [userCache(), path.join(os.tmpdir(), 'waybill-cache')]) {
    try {
      fs.mkdirSync(dir, { recursive: true });
      fs.accessSync(dir, fs.constants.W_OK);
      return dir;
    } catch {
      // The next folder is tried.
    }
  }
  throw new Error(`No folder for downloads can be written: neither ${userCache()} nor ${os.tmpdir()}. Set XDG_CACHE_HOME to one that can.`);
}

function userCache() {
  if (process.env['XDG_CACHE_HOME']) return path.join(process.env['XDG_CACHE_HOME'], 'waybill');
  if (process.platform === 'win32') return path.join(process.env['LOCALAPPDATA'] ?? path.join(os.homedir(), 'AppData', 'Local'), 'waybill');
  if (process.platform === 'darwin') return path.join(os.homedir(), 'Library', 'Caches', 'waybill');
  return path.join(os.homedir(), '.cache', 'waybill');
}
