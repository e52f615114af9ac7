// @ts-check
import fs from 'node:fs';
import readline from 'node:readline';
import { ended, killTree, processTree, signal } from './process-tree.mjs';

/** @type {Map<number, NodeJS.Signals>} */
const pids = new Map();
/** @type {Set<string>} */
const folders = new Set();

for (const name of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) process.on(name, () => undefined);

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [verb, subject, endWith] = JSON.parse(line);
  if (verb === 'watch') pids.set(subject, endWith);
  if (verb === 'forget') pids.delete(subject);
  if (verb === 'remove') folders.add(subject);
  if (verb === 'keep') folders.delete(subject);
}

// The pipe is closed: the process that was guarded has ended, or has nothing left to guard.
await Promise.all([...pids].map(([pid, endWith]) => end(pid, endWith)));
for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 });

/** @param {number} pid @param {NodeJS.Signals} endWith */
async function end(pid, endWith) {
  const tree = processTree(pid);
  if (endWith !== 'SIGKILL' && process.platform !== 'win32') {
    signal(tree, 'SIGCONT');
    signal([pid], endWith);
    if (await ended(tree, 5000)) return;
  }
  await ended([...tree, ...killTree(pid)], 5000);
}
