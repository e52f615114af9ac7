import pg from 'pg';

/** A statement with what pg's own queries may say about it. */
export interface Statement {
  readonly text: string;
  readonly values?: readonly unknown[];
  /** Under this name the server keeps it, parsed, for as long as the connection lives. One name, one text. */
  readonly name?: string | undefined;
  readonly rowMode?: 'array';
  readonly types?: pg.CustomTypesConfig;
  /** Given its result, may throw: what comes behind it has taken place by then, and is not to count. */
  readonly check?: (result: pg.QueryResult) => void;
}

/** What pg's client hands to whoever is under way on its connection; the part of it that is used here. */
interface Connection {
  readonly stream: { cork(): void; uncork(): void };
  parse(statement: { name: string; text: string; types: readonly number[] }): void;
  bind(statement: { portal: string; statement: string; values: readonly unknown[]; valueMapper: (value: unknown) => unknown }): void;
  describe(portal: { type: 'P'; name: string }): void;
  execute(portal: { portal: string; rows: number }): void;
  close(statement: { type: 'S'; name: string }): void;
  sync(): void;
}

/** pg.Result with what its types leave out. */
type Result = pg.Result & {
  addFields(fields: unknown): void;
  parseRow(values: unknown): pg.QueryResultRow;
  addRow(row: pg.QueryResultRow): void;
  addCommandComplete(message: unknown): void;
};
const Results = pg.Result as unknown as new (rowMode: string | undefined, types: pg.CustomTypesConfig) => Result;
/** How pg's own queries write a value. */
const { prepareValue } = Reflect.get(pg, 'utils') as { prepareValue: (value: unknown) => unknown };

/** What each connection's server has parsed under a name. */
const parsed = new WeakMap<object, Set<string>>();

/**
 * Sends statements in one message and waits once for all their answers. Why it is safe to send a statement before
 * the one ahead of it is known to have succeeded: they share one Sync, and after an error the server skips whatever
 * comes until then. So what follows a BEGIN never runs outside of its transaction, and a COMMIT never runs after a
 * statement that failed. (PostgreSQL's protocol, "Pipelining".)
 * @returns a result for each statement
 * @throws the error of the first statement that failed; the ones before it have taken place, the ones behind it have not.
 * What a check threw goes before such an error: the statement may have failed because of what the check found
 */
export function sendTogether(client: pg.ClientBase, statements: readonly Statement[]): Promise<pg.QueryResult[]> {
  return new Promise((resolve, reject) => {
    client.query(new Pipeline(statements, (error, results) => (error ? reject(error) : resolve(results))));
  });
}

/** A query of our own in pg's queue, as pg-cursor's is. */
class Pipeline implements pg.Submittable {
  private readonly results: Result[];
  private at = 0;
  private unreadable: Error | undefined;
  private refused: Error | undefined;

  constructor(
    private readonly statements: readonly Statement[],
    /** By this name pg's client knows it, and puts a time-out around it. */
    public callback: (error: Error | null, results: pg.QueryResult[]) => void,
  ) {
    this.results = statements.map(({ rowMode, types }) => new Results(rowMode, types ?? (pg.types as pg.CustomTypesConfig)));
  }

  submit(connection: pg.Connection): Error | null {
    const wire = connection as unknown as Connection;
    const known = parsed.get(connection) ?? new Set();
    parsed.set(connection, known);
    let values: unknown[][];
    try {
      values = this.statements.map((statement) => (statement.values ?? []).map((value) => prepareValue(value)));
    } catch (error) {
      return error as Error; // nothing has been sent yet
    }
    wire.stream.cork();
    try {
      this.statements.forEach((statement, index) => {
        const { text } = statement;
        const name = nameOf(statement);
        if (name === '' || !known.has(name)) {
          // A statement that was parsed and then failed has its name already; to close one that is not there is no error.
          if (name !== '') wire.close({ type: 'S', name });
          wire.parse({ name, text, types: [] });
        }
        wire.bind({ portal: '', statement: name, values: values[index] ?? [], valueMapper: (value) => value });
        wire.describe({ type: 'P', name: '' });
        wire.execute({ portal: '', rows: 0 });
      });
      wire.sync();
    } finally {
      wire.stream.uncork();
    }
    return null;
  }

  handleRowDescription({ fields }: { fields: unknown }): void {
    this.results[this.at]?.addFields(fields);
  }

  handleDataRow({ fields }: { fields: unknown }): void {
    const result = this.results[this.at];
    if (!result || this.unreadable) return;
    try {
      result.addRow(result.parseRow(fields));
    } catch (error) {
      this.unreadable = error as Error;
    }
  }

  handleCommandComplete(message: unknown, connection: pg.Connection): void {
    this.results[this.at]?.addCommandComplete(message);
    this.next(connection);
  }

  handleEmptyQuery(connection: pg.Connection): void {
    this.next(connection);
  }

  handleReadyForQuery(): void {
    this.callback(this.refused ?? this.unreadable ?? null, this.results);
  }

  handleError(error: Error): void {
    this.callback(this.refused ?? error, []);
  }

  private next(connection: pg.Connection): void {
    const result = this.results[this.at];
    const statement = this.statements[this.at++];
    try {
      if (result) statement?.check?.(result);
    } catch (error) {
      this.refused ??= error as Error;
    }
    if (statement?.name !== undefined) parsed.get(connection)?.add(nameOf(statement));
  }
}

/** Apart from the names that pg's own queries give on the same connection, of which it keeps account by itself. */
function nameOf({ name }: Statement): string {
  return name === undefined ? '' : `${name}_together`;
}
