import { isAlive } from '../../scripts/lib/process-tree.mjs';
import { SUBSCRIBERS } from '../support/invariants.js';
import type { ProxyMode } from '../support/tcp-proxy.js';
import { standStill, type Instance } from './instance.js';
import { pause } from './load.js';
import type { Random } from './random.js';
import { closeConnections, type Reached, type ShopServers } from './shop-servers.js';

/** Longer than any lease and any session: the others have taken over when a frozen instance comes back. */
const FROZEN_MS = [11_000, 15_000] as const;
/** Windows has no signals that suspend a process. */
const CAN_FREEZE = process.platform === 'win32' ? 0 : 1;
const TAKE_OVER_LIMIT_MS = 45_000;
const PAIRS = Object.entries(SUBSCRIBERS).flatMap(([type, groups]) => groups.map((group) => [type, group] as const));

/** Makes things go wrong, sees to it that they really did, and counts them. Rejects where a fault did not happen. */
export class Faults {
  readonly happened: Record<string, number> = {};
  /** How long the work of a killed instance waited for the others, where nothing else went wrong meanwhile. */
  readonly takeOversMs: number[] = [];
  readonly problems: string[] = [];
  kills = 0;
  private readonly starting = new Set<Promise<unknown>>();
  private disturbances = 0;
  private disturbing = 0;

  constructor(
    private readonly instances: readonly Instance[],
    private readonly servers: ShopServers,
    private readonly note: (text: string) => void,
  ) {}

  /** Faults of the instances, until it is time; an instance that starts again is left alone meanwhile, the others are not. */
  async ofProcesses(random: Random, until: number): Promise<void> {
    while (Date.now() < until) {
      await pause(random.between(100, 700));
      const kind = random.weighted({ kill: 14, 'kill in a row': 3, 'kill and stay away': 1, freeze: CAN_FREEZE, 'rolling restart': 1 });
      const [which, waitMs, frozenMs] = [random.next(), random.between(0, 1000), random.between(...FROZEN_MS)];
      const running = this.instances.filter(({ app }) => app);
      const instance = running[Math.floor(which * running.length)];
      if (!instance) continue;
      await this.noting(async () => {
        if (kind === 'kill') await this.kill(instance, waitMs);
        if (kind === 'kill in a row') for (const each of running) await this.kill(each, 0);
        if (kind === 'kill and stay away' && running.length > 1) await this.killAndStayAway(instance);
        if (kind === 'freeze' && Date.now() + frozenMs < until) await this.freeze(instance, frozenMs);
        if (kind === 'rolling restart') await this.roll();
      });
    }
    await Promise.all(this.starting);
  }

  /** Faults of the servers and of the network before them, one after the other, until it is time; the first kinds come for sure. */
  async ofSurroundings(random: Random, until: number, first: readonly string[]): Promise<void> {
    const wanted = [...first];
    while (Date.now() < until) {
      await pause(random.between(1000, 6000));
      const kind =
        wanted.shift() ??
        random.weighted({
          blackhole: 2,
          reset: 3,
          refuse: 3,
          latency: 1,
          slow: 1,
          restart: 2,
          crash: 2,
          'server freeze': 2 * CAN_FREEZE,
          terminate: 2,
          close: 2,
        });
      const target = random.chance(0.3) ? this.servers.database : (this.servers.broker ?? this.servers.database);
      const ms = random.between(800, 6000);
      this.disturbances++;
      this.disturbing++;
      await this.noting(() => this.surround(kind, target, ms));
      this.disturbing--;
    }
  }

  /** What goes wrong with a fault is told at the end; the others go on. */
  private async noting(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.problems.push((error as Error).message);
      this.note(`  ${(error as Error).message}`);
    }
  }

  async kill(instance: Instance, waitMs: number): Promise<void> {
    const end = await instance.end('SIGKILL');
    if (end === null) throw new Error(`${instance.name} did not run and could not be killed`);
    confirm(end === 'SIGKILL', `${instance.name} ended with ${end} instead of SIGKILL`);
    this.kills++;
    this.count('kill -9');
    const starting = pause(waitMs).then(() => this.noting(() => instance.start()));
    this.starting.add(starting);
    void starting.finally(() => this.starting.delete(starting));
  }

  /** Kills an instance and starts it again only when the others have done what it had begun. */
  async killAndStayAway(instance: Instance): Promise<void> {
    await Promise.all(this.starting); // whose arrival would move work about as well
    const pid = instance.app?.child.pid;
    const before = this.disturbances;
    if (this.disturbing > 0) return this.kill(instance, 0);
    let left = await this.leftOf(Number(pid), undefined).catch(() => undefined);
    if (!left) return this.kill(instance, 0); // the database is away: nothing can be measured
    const { last } = left;
    const end = await instance.end('SIGKILL');
    confirm(end === 'SIGKILL', `${instance.name} ended with ${end} instead of SIGKILL`);
    this.kills++;
    this.count('kill -9');
    const start = performance.now();
    for (let done = false; !done && performance.now() - start < TAKE_OVER_LIMIT_MS;) {
      await pause(100);
      left = await this.leftOf(Number(pid), last).catch(() => left);
      done = left?.count === 0;
    }
    const ms = Math.round(performance.now() - start);
    if (this.disturbances === before) {
      this.takeOversMs.push(ms);
      this.note(`  work of ${instance.name} taken over after ${(ms / 1000).toFixed(1)} s`);
    }
    await instance.start();
  }

  async freeze(instance: Instance, ms: number): Promise<void> {
    confirm(await instance.freeze(), `${instance.name} does not stand still`);
    await pause(ms);
    instance.thaw();
    this.count('freeze past the lease');
  }

  async roll(): Promise<void> {
    for (const instance of this.instances) {
      if (!instance.app) continue;
      const end = await instance.end('SIGTERM');
      // 1: what could not be finished was left to a lease, which the shutdown says and the others take over.
      confirm(end === 0 || end === 1, `${instance.name} ended with ${end} on SIGTERM`);
      this.count(end === 0 ? 'SIGTERM, ended in order' : 'SIGTERM, work left to a lease');
      await instance.start();
    }
    this.count('rolling restart');
  }

  private async surround(kind: string, target: Reached, ms: number): Promise<void> {
    const { server, name } = target;
    // SQS has no restart that a client could see. ElasticMQ has, and forgets by it which message groups are in hand elsewhere,
    // which SQS does not: what its clients see of an outage is a network that refuses.
    if (name === 'sqs' && (kind === 'restart' || kind === 'crash')) return this.network('refuse', target, ms);
    switch (kind) {
      case 'restart':
      case 'crash': {
        const pids = [...server.pids];
        await (kind === 'restart' ? server.stop() : server.kill());
        confirm(pids.length > 0 && !pids.some(isAlive), `${name} still runs after its ${kind}`);
        await pause(ms / 2);
        await server.start();
        return this.count(`${name} ${kind}`);
      }
      case 'server freeze': {
        server.freeze();
        try {
          confirm(await standStill(server.pids), `${name} does not stand still`);
          await pause(ms);
        } finally {
          server.thaw();
        }
        return this.count(`${name} freeze`);
      }
      case 'terminate': {
        const rows = await this.servers.tables.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'waybill%'`,
        );
        if (rows.length > 0) this.count('pg_terminate_backend');
        return;
      }
      case 'close':
        if (this.servers.broker?.name !== 'rabbitmq') return;
        await closeConnections(this.servers.broker);
        return this.count('rabbitmqctl close_all_connections');
      default:
        return this.network(kind as ProxyMode, target, ms);
    }
  }

  private async network(mode: ProxyMode, { proxy, name }: Reached, ms: number): Promise<void> {
    const before = proxy.counts;
    await proxy.set(mode);
    await pause(ms);
    const { bytesHeld, bytesDelayed, broken } = proxy.counts;
    await proxy.set('ok');
    const did = {
      blackhole: bytesHeld - before.bytesHeld,
      latency: bytesDelayed - before.bytesDelayed,
      slow: bytesDelayed - before.bytesDelayed,
    };
    const happened = (did as Record<string, number>)[mode] ?? broken - before.broken;
    // With every instance just starting, there may be no connection to harm.
    if (happened > 0) this.count(`${name} network ${mode}`);
    else this.count('faults that met nobody');
  }

  /** What an instance has left undone of what was published until it died: leases it holds, and events nobody has handled or parked. */
  private async leftOf(pid: number, until: string | undefined): Promise<{ count: number; last: string }> {
    const [row] = await this.servers.tables.query<{ leases: number; events: number; last: string }>(
      `WITH published AS (
         SELECT p.event_id, s.group_name FROM observed.published p JOIN unnest($1::text[], $2::text[]) AS s(type, group_name) ON s.type = p.type
         WHERE ($3::bigint IS NULL OR p.n <= $3) AND convert_from(p.payload, 'UTF8') !~ 'tok_(slow|timeout)')
       SELECT (SELECT count(*)::int FROM lane_lease WHERE owner LIKE $4) AS leases,
              (SELECT coalesce(max(n), 0) FROM observed.published) AS last,
              (SELECT count(*)::int FROM published p
               WHERE NOT EXISTS (SELECT 1 FROM inbox i WHERE i.group_name = p.group_name AND i.event_id = p.event_id)
                 AND NOT EXISTS (SELECT 1 FROM parked_event e WHERE e.group_name = p.group_name AND e.event_id = p.event_id)
                 AND NOT EXISTS (SELECT 1 FROM dead_letter d WHERE d.group_name = p.group_name AND d.event_id = p.event_id)) AS events`,
      [PAIRS.map(([type]) => type), PAIRS.map(([, group]) => group), until ?? null, `%-${pid}-%`],
    );
    if (!row) throw new Error('nothing was answered');
    return { count: row.leases + row.events, last: row.last };
  }

  private count(what: string): void {
    this.happened[what] = (this.happened[what] ?? 0) + 1;
    this.note(`  ${what}`);
  }
}

function confirm(happened: boolean, otherwise: string): void {
  if (!happened) throw new Error(`a fault did not happen: ${otherwise}`);
}
