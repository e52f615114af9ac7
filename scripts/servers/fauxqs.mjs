// @ts-check
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../lib/ports.mjs';
import { startInBackground } from '../lib/processes.mjs';
import { inRoot } from '../lib/root.mjs';
import { logFile, serverFolder, startManaged } from './managed-server.mjs';
import { createAndListQueue, sqsEnvironment } from './sqs-client.mjs';

/** Whether this machine can start fauxqs. */
export async function availability() {
  try {
    return { available: true, how: `fauxqs ${version()} (npm)` };
  } catch {
    return { available: false, reason: 'the npm package fauxqs is not installed', cure: 'npm install --include=dev' };
  }
}

/** Starts fauxqs, which speaks the SQS and SNS protocols, in a Node process of its own. @param {import('./managed-server.mjs').StartOptions} [options] */
export async function start({ dir: named, port: wanted } = {}) {
  const port = wanted ?? (await freePort());
  const folder = serverFolder('fauxqs', named);
  const data = path.join(folder.dir, 'data');
  fs.mkdirSync(data, { recursive: true });
  const program = fileURLToPath(new URL('fauxqs-process.mjs', import.meta.url));

  return startManaged({
    name: 'sqs',
    description: () => `fauxqs ${version()} (npm)`,
    env: sqsEnvironment(port),
    ...folder,
    port,
    launch: async () => [
      await startInBackground(process.execPath, ['--disable-warning=ExperimentalWarning', program, String(port), data], {
        log: logFile(folder.dir),
        cwd: folder.dir,
        env: { ...process.env, NODE_OPTIONS: '' },
      }),
    ],
    check: () => createAndListQueue(port),
    stopSignal: 'SIGTERM',
  });
}

const version = () => String(JSON.parse(fs.readFileSync(inRoot('node_modules', 'fauxqs', 'package.json'), 'utf8')).version);
