/** How an operation ended for its client; after a time-out or a broken connection nobody but the server knows. */
export type Outcome = 'ok' | 'fail' | 'unknown';

export type OperationKind = 'place' | 'cancel' | 'mend' | 'discard';

/** What a client wanted, whatever became of it; one customer for each, so that the orders tell whose they are. */
export interface Intent {
  readonly customerId: string;
  readonly paymentToken: string;
  readonly items: readonly { readonly sku: string; readonly quantity: number }[];
  readonly idempotencyKey?: string;
  /** The trace of the request, which every event that it leads to must carry. */
  readonly traceId?: string;
}

export interface Operation {
  readonly operation: OperationKind;
  /** The customer of a `place`, the order of everything else. */
  readonly key: string;
  /** Milliseconds of the machine's clock. */
  readonly start: number;
  readonly end: number;
  readonly outcome: Outcome;
  readonly status?: number;
  /** The order that a `place` was answered with. */
  readonly orderId?: string;
  /** What the dead letter of a `mend` was given to pay with. */
  readonly paymentToken?: string;
}

export interface Bounds {
  readonly least: number;
  readonly most: number;
}

/** What the clients did and what they were told, to hold the tables against. */
export class History {
  readonly intents = new Map<string, Intent>();
  readonly operations: Operation[] = [];
  /** What was put on hand of each sku. */
  readonly stock = new Map<string, number>();
  /** Bodies of answers that must give nothing away. */
  readonly problems: string[] = [];

  intend(intent: Intent): Intent {
    this.intents.set(intent.customerId, intent);
    return intent;
  }

  /** Runs an operation and notes how it ended. Rejects only where the call itself says nothing of an outcome. */
  async record(
    operation: OperationKind,
    key: string,
    call: () => Promise<{ status: number; body?: unknown }>,
    more: Partial<Operation> = {},
  ): Promise<Operation> {
    const start = Date.now();
    const note = (outcome: Outcome, answered: Partial<Operation> = {}): Operation => {
      const noted = { ...more, operation, key, start, end: Date.now(), outcome, ...answered };
      this.operations.push(noted);
      return noted;
    };
    try {
      const { status, body } = await call();
      if (status >= 400) this.problems.push(JSON.stringify(body));
      const id = (body as { id?: unknown } | undefined)?.id;
      const outcome = outcomeOf(status);
      return note(outcome, { status, ...(operation === 'place' && outcome === 'ok' && typeof id === 'string' && { orderId: id }) });
    } catch (error) {
      return note(wasRefused(error) ? 'fail' : 'unknown');
    }
  }

  of(operation: OperationKind, key: string): Operation[] {
    return this.operations.filter((noted) => noted.operation === operation && noted.key === key);
  }

  /** How many orders there may be of a customer: ok ≤ actual ≤ ok + unknown, and one at most with an idempotency key. */
  ordersOf({ customerId, idempotencyKey }: Intent): Bounds {
    const { least, most } = bounds(this.of('place', customerId));
    return idempotencyKey === undefined ? { least, most } : { least: Math.min(1, least), most: Math.min(1, most) };
  }

  /** How often each kind of operation ended how. */
  summary(): Record<string, Record<Outcome, number>> {
    const counts: Record<string, Record<Outcome, number>> = {};
    for (const { operation, outcome } of this.operations) (counts[operation] ??= { ok: 0, fail: 0, unknown: 0 })[outcome]++;
    return counts;
  }
}

/** ok ≤ actual ≤ ok + unknown */
export function bounds(operations: readonly Operation[]): Bounds {
  const least = operations.filter(({ outcome }) => outcome === 'ok').length;
  return { least, most: least + operations.filter(({ outcome }) => outcome === 'unknown').length };
}

/** A server error says nothing of what was committed before it. */
function outcomeOf(status: number): Outcome {
  if (status >= 500) return 'unknown';
  return status >= 400 ? 'fail' : 'ok';
}

/** Whether the request cannot have reached anybody. */
function wasRefused(error: unknown): boolean {
  for (let link = error; link instanceof Error; link = link.cause) if ((link as NodeJS.ErrnoException).code === 'ECONNREFUSED') return true;
  return false;
}
