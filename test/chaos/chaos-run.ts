import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { BrokerName } from '../../src/config/config.js';
import type { AppProcess } from '../support/app-process.js';
import { eventually } from '../support/eventually.js';
import { recordEvents } from '../support/event-record.js';
import { History } from '../support/history.js';
import { footprintOf, untilDrained, untilQuiet, violations, type Observed } from '../support/invariants.js';
import { Faults } from './faults.js';
import { Instance } from './instance.js';
import { Load, pause, SKUS, TOKENS } from './load.js';
import { Random } from './random.js';
import { report } from './report.js';
import { ShopServers } from './shop-servers.js';

export interface ChaosOptions {
  readonly broker: BrokerName;
  readonly instances: number;
  readonly seconds: number;
  readonly seed: number;
  readonly clients: number;
  /** Without orders whose every attempt runs into its time, which a short run would wait for at its end. */
  readonly short?: boolean;
}

export interface ChaosResult {
  readonly violations: readonly string[];
  readonly kills: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly summary: string;
}

const QUIET_MS = 150_000;
const TAKE_OVER_MS = 15_000;
const CALM_KILLS = 2;
const CALM_MS = 3000;
/** Tokens that dead letters are mended with. */
const MENDS = ['tok_ok_mended', 'tok_declined_mended', 'tok_flaky_mended', 'tok_lost_response_mended'] as const;

/** Runs the shop under load and faults, heals it, and holds what is left against the invariants. */
export async function chaos(options: ChaosOptions, note: (text: string) => void): Promise<ChaosResult> {
  const random = new Random(options.seed);
  const servers = await ShopServers.start(options.broker);
  const opsToken = `canary-${randomBytes(12).toString('hex')}`;
  const noteText = `canary ${randomUUID()} ring twice`;
  // Leases, sessions, attempts and time-outs are the defaults: what is measured is what a deployment gets.
  const groupCommit = options.seed % 2 === 1;
  const env = {
    ...servers.env,
    ORDERS_GROUP_COMMIT: String(groupCommit),
    BROKER_NAMESPACE: `chaos-${randomBytes(3).toString('hex')}`,
    OPS_TOKEN: opsToken,
  };
  const instances = Array.from({ length: options.instances }, (_, n) => new Instance(`instance ${n + 1}`, env, note));
  const history = new History();
  const faults = new Faults(instances, servers, note);
  const running = (): AppProcess[] => instances.flatMap(({ app }) => app ?? []);
  const observed = (more: Partial<Observed> = {}): Observed => ({
    database: servers.tables,
    apps: running(),
    history,
    logs: instances.flatMap(({ processes }) => processes.map(({ output }) => output)),
    secrets: [opsToken, noteText, ...servers.secrets],
    ...more,
  });

  try {
    await recordEvents(servers.tables);
    await Promise.all(instances.map((instance) => instance.start()));
    for (const [sku, onHand] of Object.entries(SKUS)) {
      history.stock.set(sku, onHand);
      await running()[0]?.call('PUT', `/inventory/${sku}`, { name: sku, price: { amount: 250, currency: 'EUR' }, onHand });
    }
    const before = await warmUp(running(), history, servers, noteText);
    const published = async (): Promise<number> =>
      Number((await servers.tables.query<{ count: string }>('SELECT count(*) FROM observed.published'))[0]?.count);

    note(
      `chaos on ${options.broker}: ${options.instances} instances, ${options.seconds} s, seed ${options.seed}, orders ${groupCommit ? 'committed in groups' : 'each in a transaction of its own'}`,
    );
    const load = new Load(history, instances, noteText, options.short === true ? { ...TOKENS, tok_timeout: 0 } : TOKENS);
    load.start(random.fork(), options.clients);
    if (options.short !== true && instances.length > 1) {
      // Before the storm: one death that nothing else blurs.
      for (let n = 0; n < CALM_KILLS; n++) {
        await pause(CALM_MS);
        await faults.killAndStayAway(random.pick(instances));
      }
    }
    const start = Date.now();
    const until = start + options.seconds * 1000;
    await Promise.all([
      faults.ofProcesses(random.fork(), until),
      faults.ofSurroundings(random.fork(), until, options.short === true ? ['restart'] : []),
    ]);
    note(`no more faults after ${((Date.now() - start) / 1000).toFixed(1)} s`);
    await load.stop();

    note(`healing, ${((Date.now() - start) / 1000).toFixed(1)} s`);
    await servers.heal();
    for (const instance of instances) if (!instance.app) await instance.start();
    const healed = Date.now();
    const backlog = await unhandled(servers);
    const found: string[] = [];
    const quietly = (waiting: Promise<number>): Promise<unknown> => waiting.catch((error: Error) => found.push(`quiet: ${error.message}`));
    await quietly(untilDrained(observed(), { timeoutMs: QUIET_MS }));
    const recovery = { ms: Date.now() - healed, backlog };
    note(`no group is behind ${(recovery.ms / 1000).toFixed(1)} s after healing, with ${backlog} events to see to`);
    await quietly(untilQuiet(observed(), { timeoutMs: QUIET_MS }));
    found.push(...(await violations(observed({ recovery, ...(before && { footprintBefore: before }) }))));

    const letters = await seeToDeadLetters(random.fork(), running()[0] as AppProcess, history);
    await quietly(untilQuiet(observed(), { timeoutMs: QUIET_MS }));
    found.push(...(await violations(observed({ noDeadLetters: true }))).filter((violation) => !found.includes(violation)));

    const late = faults.takeOversMs.filter((ms) => ms > TAKE_OVER_MS);
    if (late.length > 0)
      found.push(`take-over: expected within ${TAKE_OVER_MS / 1000} s, found ${late.map((ms) => ms / 1000).join(', ')} s`);
    found.push(
      ...faults.problems.map((problem) => `chaos: ${problem}`),
      ...instances.flatMap(({ problems }) => problems.map((problem) => `I12: expected no process to end by itself, found ${problem}`)),
    );
    const summary = await report({
      options,
      history,
      faults,
      recovery,
      letters,
      published: await published(),
      duplicates: await duplicates(running()),
      seconds: (Date.now() - start) / 1000,
      violations: found,
      failedStarts: instances.reduce((sum, { failedStarts }) => sum + failedStarts, 0),
      database: servers.tables,
    });
    if (found.length > 0) note(`what the instances printed is in ${await keepLogs(options, instances)}`);
    return { violations: found, kills: faults.kills, faults: faults.happened, summary };
  } finally {
    for (const instance of instances) await instance.end('SIGKILL').catch(() => undefined);
    await servers.dispose();
  }
}

/** For whoever looks into a failed run. */
async function keepLogs({ broker, seed }: ChaosOptions, instances: readonly Instance[]): Promise<string> {
  const folder = path.resolve('.waybill', 'chaos', `${broker}-${seed}`);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const [n, { processes }] of instances.entries())
    for (const [m, { output }] of processes.entries()) await writeFile(path.join(folder, `instance-${n + 1}-${m + 1}.log`), output);
  return folder;
}

/** A few orders before anything goes wrong, so that every pool has its connections; answers what an instance then holds. */
async function warmUp(apps: readonly AppProcess[], history: History, servers: ShopServers, note: string): ReturnType<typeof footprintOf> {
  for (let n = 0; n < 20; n++) {
    const { customerId, items, paymentToken } = history.intend({
      customerId: randomUUID(),
      paymentToken: 'tok_ok',
      items: [{ sku: 'widget', quantity: 1 }],
    });
    const app = apps[n % apps.length] as AppProcess;
    await history.record('place', customerId, () => app.post('/orders', { customerId, items, paymentToken, note }));
  }
  await untilQuiet({ database: servers.tables, apps });
  return footprintOf(apps[0] as AppProcess, servers.tables);
}

/** Deliveries that are still to be made, as far as the outbox and the inbox tell. */
async function unhandled(servers: ShopServers): Promise<number> {
  const [row] = await servers.tables.query<{ count: number }>(
    `SELECT (SELECT count(*)::int FROM outbox) + (SELECT count(*)::int FROM observed.published p WHERE NOT EXISTS (SELECT 1 FROM observed.handled h WHERE h.event_id = p.event_id)
             AND p.type <> 'commerce.payment.refunded' AND p.type LIKE 'commerce.%' AND p.topic NOT LIKE '%.DLT') AS count`,
  );
  return row?.count ?? 0;
}

/** How many deliveries the inboxes recognised, as far as the instances that still run have counted. */
async function duplicates(apps: readonly AppProcess[]): Promise<number> {
  let total = 0;
  for (const app of apps) {
    const text = await (await fetch(`${app.url}/metrics`)).text();
    for (const [, value] of text.matchAll(/^waybill_inbox_duplicates_total(?:\{[^}]*\})? (\S+)$/gm)) total += Number(value);
  }
  return total;
}

/** An operator mends most dead letters and discards the others, whose orders are then cancelled. */
async function seeToDeadLetters(random: Random, app: AppProcess, history: History): Promise<{ mended: number; discarded: number }> {
  const counts = { mended: 0, discarded: 0 };
  for (const { id = '', key = '' } of await app.all('/ops/dead-letters')) {
    if (random.chance(0.3)) {
      await history.record('discard', key, () => app.post(`/ops/dead-letters/${id}/discard`, { reason: 'chaos' }));
      if ((await app.get(`/orders/${key}`)).body['status'] === 'pending')
        await history.record('cancel', key, () => app.post(`/orders/${key}/cancel`));
      counts.discarded++;
      continue;
    }
    const paymentToken = random.pick(MENDS);
    const { body } = await app.get(`/ops/dead-letters/${id}`);
    const data = { ...(JSON.parse(body['payload'] as string) as Record<string, unknown>), paymentToken };
    await history.record('mend', key, () => app.post(`/ops/dead-letters/${id}/replay`, { data }), { paymentToken });
    counts.mended++;
  }
  await eventually(
    async () => {
      if ((await app.all('/ops/dead-letters?state=replaying')).length > 0) throw new Error('letters are still being replayed');
    },
    { timeoutMs: 60_000, everyMs: 200 },
  ).catch(() => undefined); // the wait for quiet says which
  return counts;
}
