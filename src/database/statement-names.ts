import type { Logger } from '../observability/logger.js';
import { isStatementLost } from './database-errors.js';

const MOST_NAMES = 300;
const MOST_TEXTS = 3000;
/** So often a text must have come before its statement is kept: one that is put together anew each time never is. */
const USES_BEFORE = 2;

/**
 * Names for statements that come again and again, so that the server parses and plans each once a connection. Bounded,
 * because the server keeps every named statement until the connection ends.
 */
export class StatementNames {
  private readonly uses = new Map<string, number>();
  private readonly names = new Map<string, string>();

  constructor(
    private off: boolean,
    private readonly logger: Logger,
  ) {}

  /** The name of this very text; undefined where it goes without. */
  nameOf(text: string): string | undefined {
    const name = this.names.get(text);
    if (name !== undefined || this.off) return name;
    const uses = (this.uses.get(text) ?? 0) + 1;
    if (uses <= USES_BEFORE) {
      if (this.uses.size < MOST_TEXTS) this.uses.set(text, uses);
      return undefined;
    }
    this.uses.delete(text);
    if (this.names.size >= MOST_NAMES) return undefined;
    const given = `waybill_${this.names.size + 1}`;
    this.names.set(text, given);
    return given;
  }

  /**
   * Whether the statement failed only because the server, or a pooler in front of it, does not know or no longer takes
   * what it was kept as. From then on no statement has a name, and the same work can succeed.
   */
  failedBy(error: unknown): boolean {
    if (!isStatementLost(error)) return false;
    if (!this.off)
      this.logger.warn(
        { err: error },
        'the database does not keep prepared statements; going on without, which costs speed. Behind a pooler that does not support them set DATABASE_PREPARED_STATEMENTS=false',
      );
    this.off = true;
    this.names.clear();
    this.uses.clear();
    return true;
  }
}
