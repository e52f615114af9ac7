import { SqsAdapter } from './messaging/transport/sqs/sqs.adapter.js';
import { startServer } from '/work/main/scripts/servers/index.mjs';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
const variant = process.argv[2],
  total = Number(process.argv[3] ?? 5000),
  nkeys = Number(process.argv[4] ?? 500),
  delay = Number(process.argv[5] ?? 0);
const s = { env: { SQS_ENDPOINT: 'http://127.0.0.1:19555' }, pids: [12831], dispose: async () => {} };
process.env.AWS_ACCESS_KEY_ID = 'a';
process.env.AWS_SECRET_ACCESS_KEY = 'b';
const log = () => {};
const logger = { info: log, warn: console.log, error: console.log, debug: log, trace: log };
const a = new SqsAdapter({
  sqs: { endpoint: s.env.SQS_ENDPOINT, region: 'us-east-1', visibilityTimeoutSeconds: 30, maxReceiveCount: 200 },
  namespace: 'b',
  provision: true,
  instance: 'x',
  logger,
});
await a.open({ topics: ['t'], subscriptions: [{ group: 'g', topic: 't' }], deadLetterTopics: [] });
const cpu = () => {
  const c = process.cpuUsage();
  const st = readFileSync(`/proc/${s.pids[0]}/stat`, 'utf8').split(' ');
  return { node: (c.user + c.system) / 1e6, server: (Number(st[13]) + Number(st[14])) / 100 };
};
const phase = async (name, f) => {
  const c0 = cpu(),
    t0 = performance.now();
  await f();
  const t = (performance.now() - t0) / 1000,
    c1 = cpu();
  console.log(
    name,
    `${Math.round(total / t)}/s in ${t.toFixed(1)} s; cpu node ${(c1.node - c0.node).toFixed(1)} server ${(c1.server - c0.server).toFixed(1)}`,
  );
};
let n = 0;
const payload = Buffer.from('x'.repeat(300));
await phase('publish', async () => {
  for (let i = 0; i < total; i += 500) {
    const o = await a.publish(
      Array.from({ length: 500 }, () => {
        const id = randomUUID();
        return {
          eventId: id,
          topic: 't',
          type: 'x',
          key: `k${n++ % nkeys}`,
          headers: {
            ce_id: id,
            ce_type: 'x',
            ce_source: 'y',
            ce_time: new Date().toISOString(),
            ce_specversion: '1.0',
            ce_partitionkey: 'abc',
          },
          payload,
        };
      }),
    );
    if (o.some(Boolean)) throw o.find(Boolean);
  }
});
let got = 0,
  done;
const fin = new Promise((r) => (done = r));
await phase('consume', async () => {
  const sub = await a.subscribe(
    { group: 'g', topic: 't' },
    async () => {
      if (delay) await new Promise((r) => setTimeout(r, delay));
      if (++got >= total) done();
      return 'settled';
    },
    { maxInFlight: Number(process.argv[6] ?? 256), onDown: console.log },
  );
  await fin;
  await sub.close();
});
await a.close();
await s.dispose();
