import type { DatabasePool } from '../../database/database-pool.js';

/** So many rows must have gone before it is worth to look where the lanes begin. */
const ROWS_BETWEEN_LOOKS = 2000;
const CHECK_AGAIN_MS = 50;
/** Marks are taken anew after so long, whatever is known: against what nobody thought of. */
const FORGET_MS = 60_000;

/** The last id that the sequence has given out; rows of queues have their ids from it too. */
export const ISSUED = `SELECT CASE WHEN is_called THEN last_value ELSE 0 END::text AS last FROM outbox_id_seq`;

/** Transactions that have begun to write into one of these tables and have not ended. */
export const WRITING = `
  SELECT DISTINCT virtualtransaction AS transaction FROM pg_locks
  WHERE locktype = 'relation' AND relation = ANY($1::regclass[]) AND mode = 'RowExclusiveLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;

/** Lanes that lose rows at their head and get new ones behind it. */
export interface Lanes {
  /** The tables that a row's id may be drawn for. */
  readonly tables: readonly string[];
  /**
   * Answers `lane` and `low`, as text: the lowest id that each lane has, or will get from elsewhere, and one behind the
   * last issued where it has none; in one snapshot. Parameters: lanes, former marks, the last id issued, and what follows.
   */
  readonly marks: string;
  readonly more: readonly unknown[];
}

/**
 * Where each lane begins: an id below which it has no row and never will. Without it whoever reads a lane would walk over
 * all rows that have been deleted and that a long transaction somewhere (a dump, a report) keeps from being vacuumed:
 * reading a batch would take longer with each batch.
 *
 * Why no row is passed over. An id is given to a row only after its transaction has locked its table for writing, and
 * the lock lasts until the transaction ends. So of all ids up to the last one issued at some moment, each belongs to a
 * transaction that holds the lock then, or that had ended. Once those that held it have ended too, every such row is
 * to be seen, or will never be; the lowest that is left is where the lane begins. Rows that were parked keep their ids
 * and may be put back: they count as being there. What is inserted later has a higher id.
 */
export class LowWater {
  private readonly lows = new Map<number, string>();
  private passed = 0;
  private candidate: { readonly last: string; readonly writing: ReadonlySet<string> } | undefined;
  private checkedAt = 0;
  private forgetAt = performance.now() + FORGET_MS;

  constructor(
    private readonly database: DatabasePool,
    private readonly lanes: Lanes,
    private readonly rowsBetweenLooks = ROWS_BETWEEN_LOOKS,
  ) {}

  /** So many rows have been deleted. */
  pass(rows: number): void {
    this.passed += rows;
  }

  /** The marks of these lanes; 0 where nothing is known. */
  async of(lanes: readonly number[]): Promise<string[]> {
    const now = performance.now();
    if (now >= this.forgetAt) this.forget();
    if (this.passed >= this.rowsBetweenLooks && now - this.checkedAt >= (this.candidate ? CHECK_AGAIN_MS : 0)) await this.look(lanes);
    return lanes.map((lane) => this.lows.get(lane) ?? '0');
  }

  /** After a failure: the database may be another one, which was behind. */
  forget(): void {
    this.lows.clear();
    this.candidate = undefined;
    this.forgetAt = performance.now() + FORGET_MS;
  }

  private async look(lanes: readonly number[]): Promise<void> {
    this.checkedAt = performance.now();
    const { candidate } = this;
    if (!candidate) {
      // In this order: who takes an id that is issued already holds the lock when it is asked for, or has ended.
      const [issued] = await this.database.query<{ last: string }>(ISSUED);
      this.candidate = { last: issued?.last ?? '0', writing: await this.writing() };
      return;
    }
    if (candidate.writing.size > 0) {
      const writing = await this.writing();
      if ([...candidate.writing].some((transaction) => writing.has(transaction))) return;
    }
    const marks = await this.database.query<{ lane: number; low: string }>(this.lanes.marks, [
      lanes,
      lanes.map((lane) => this.lows.get(lane) ?? '0'),
      candidate.last,
      ...this.lanes.more,
    ]);
    if (this.candidate !== candidate) return; // forgotten meanwhile
    for (const { lane, low } of marks) this.lows.set(lane, low);
    this.candidate = undefined;
    this.passed = 0;
  }

  private async writing(): Promise<Set<string>> {
    return new Set(
      (await this.database.query<{ transaction: string }>(WRITING, [this.lanes.tables])).map(({ transaction }) => transaction),
    );
  }
}
