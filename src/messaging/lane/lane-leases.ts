import type { DatabasePool } from '../../database/database-pool.js';
import type { Logger } from '../../observability/logger.js';

export interface LaneLeasesOptions {
  /** What the lanes are of: `outbox`, or one queue of the postgres broker. */
  readonly pool: string;
  readonly lanes: number;
  readonly owner: string;
  /** A lease that is not renewed for so long is anybody's. */
  readonly leaseMs: number;
  readonly logger: Logger;
  readonly onChange: () => void;
}

const TICKS_PER_LEASE = 4;

/**
 * Shares the lanes of a pool among the instances that want some, by the database's clock alone. A lease limits
 * duplicates, nothing more: two holders of one lane (one of them frozen past its lease) may do work twice, and
 * whoever uses leases must be correct in that case too.
 */
export class LaneLeases {
  private lanes: ReadonlySet<number> = new Set();
  /** Given up at the next tick, so that what is in flight can end before another instance starts. */
  private leaving: ReadonlySet<number> = new Set();
  private validUntil = 0;
  private timer: NodeJS.Timeout | undefined;
  private ticking: Promise<void> = Promise.resolve();
  private stopped = false;
  /** Why the last renewal failed, for the operator. */
  trouble: Error | undefined;

  constructor(
    private readonly database: DatabasePool,
    private readonly options: LaneLeasesOptions,
  ) {}

  /** The lanes to work on now; empty when the lease could not be renewed in time. */
  owned(): number[] {
    if (performance.now() > this.validUntil) return [];
    return [...this.lanes].filter((lane) => !this.leaving.has(lane));
  }

  /** Whether the lease on a lane still holds, also while the lane is about to be given up. */
  holds(lane: number): boolean {
    return performance.now() <= this.validUntil && this.lanes.has(lane);
  }

  /** Begins to take part; resolves after the first share was taken or the attempt failed. */
  async start(): Promise<void> {
    await this.tick();
  }

  /** Gives every lane back. Work on them must have ended. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.ticking;
    this.lanes = new Set();
    const { pool, owner } = this.options;
    await this.database
      .transaction(async (client) => {
        await client.query('UPDATE lane_lease SET owner = NULL, leased_until = NULL WHERE pool = $1 AND owner = $2', [pool, owner]);
        await client.query('DELETE FROM lane_member WHERE pool = $1 AND owner = $2', [pool, owner]);
      })
      .catch((error: unknown) => this.options.logger.warn({ err: error, pool }, 'leases could not be given back; they will run out'));
  }

  private tick(): Promise<void> {
    this.ticking = this.renew()
      .then(
        () => (this.trouble = undefined),
        (error: unknown) => {
          this.trouble = error as Error;
          this.options.logger.debug({ err: error, pool: this.options.pool }, 'leases could not be renewed');
        },
      )
      .then(() => undefined)
      .finally(() => {
        if (!this.stopped) this.timer = setTimeout(() => void this.tick(), this.options.leaseMs / TICKS_PER_LEASE);
      });
    return this.ticking;
  }

  private async renew(): Promise<void> {
    const { pool, lanes, owner, leaseMs, onChange } = this.options;
    const before = this.owned().join();
    const asked = performance.now();
    const next = await this.database.transaction(async (client) => {
      await client.query(
        `INSERT INTO lane_member (pool, owner, seen_until) VALUES ($1, $2, now() + $3 * interval '1 ms')
         ON CONFLICT (pool, owner) DO UPDATE SET seen_until = excluded.seen_until`,
        [pool, owner, leaseMs],
      );
      await client.query(`DELETE FROM lane_member WHERE seen_until < now() - interval '1 hour'`);
      await client.query(
        'INSERT INTO lane_lease (pool, lane) SELECT $1, lane FROM generate_series(0, $2::int - 1) AS lane ON CONFLICT DO NOTHING',
        [pool, lanes],
      );
      const members = await client.query<{ members: number }>(
        'SELECT count(*)::int AS members FROM lane_member WHERE pool = $1 AND seen_until > now()',
        [pool],
      );
      const share = Math.ceil(lanes / Math.max(1, members.rows[0]?.members ?? 1));
      await client.query('UPDATE lane_lease SET owner = NULL, leased_until = NULL WHERE pool = $1 AND owner = $2 AND lane = ANY($3)', [
        pool,
        owner,
        [...this.leaving],
      ]);
      const kept = await client.query<{ lane: number }>(
        `UPDATE lane_lease SET leased_until = now() + $3 * interval '1 ms' WHERE pool = $1 AND owner = $2 RETURNING lane`,
        [pool, owner, leaseMs],
      );
      const mine = kept.rows.map(({ lane }) => lane).sort((a, b) => a - b);
      if (mine.length >= share) return { mine, leaving: mine.slice(share) };
      const taken = await client.query<{ lane: number }>(
        `UPDATE lane_lease SET owner = $2, epoch = epoch + 1, leased_until = now() + $3 * interval '1 ms'
         WHERE pool = $1 AND lane IN (
           SELECT lane FROM lane_lease WHERE pool = $1 AND (owner IS NULL OR leased_until < now()) ORDER BY lane LIMIT $4 FOR UPDATE SKIP LOCKED)
         RETURNING lane`,
        [pool, owner, leaseMs, share - mine.length],
      );
      return { mine: [...mine, ...taken.rows.map(({ lane }) => lane)], leaving: [] };
    });
    this.lanes = new Set(next.mine);
    this.leaving = new Set(next.leaving);
    this.validUntil = asked + leaseMs;
    if (this.owned().join() !== before) onChange();
  }
}
