import { ProblemError } from '../../http/index.js';

/** There is no such order. */
export class OrderNotFoundError extends ProblemError {
  override readonly name = 'OrderNotFoundError';
  constructor(id: string) {
    super(404, 'ORDER.NOT_FOUND', 'No such order', `There is no order ${id}.`);
  }
}

/** A cancelled order stays cancelled. */
export class OrderAlreadyCancelledError extends ProblemError {
  override readonly name = 'OrderAlreadyCancelledError';
  constructor(id: string) {
    super(409, 'ORDER.ALREADY_CANCELLED', 'The order is cancelled already', `Order ${id} is cancelled; there is nothing left to cancel.`);
  }
}

/** The catalogue has no such goods. */
export class UnknownSkuError extends ProblemError {
  override readonly name = 'UnknownSkuError';
  /** @param positions of the items in the request */
  constructor(positions: readonly number[]) {
    super(422, 'ORDER.UNKNOWN_SKU', 'The catalogue does not have all of it', 'Order only what GET /inventory lists.', {
      errors: positions.map((position) => ({ field: `items.${position}.sku`, message: 'is not in the catalogue' })),
    });
  }
}

/** An order is paid in one currency. */
export class MixedCurrenciesError extends ProblemError {
  override readonly name = 'MixedCurrenciesError';
  /** @param positions of the items that are not in the first item's currency */
  constructor(positions: readonly number[]) {
    super(422, 'ORDER.MIXED_CURRENCIES', 'The items are priced in different currencies', 'Place one order for each currency.', {
      errors: positions.map((position) => ({
        field: `items.${position}.sku`,
        message: 'is priced in another currency than the first item',
      })),
    });
  }
}

/** No gateway takes such a sum, and no JSON number holds it exactly. */
export class TotalTooLargeError extends ProblemError {
  override readonly name = 'TotalTooLargeError';
  constructor() {
    super(
      422,
      'ORDER.TOTAL_TOO_LARGE',
      'The total is too large',
      `The total must not exceed ${Number.MAX_SAFE_INTEGER} minor units; place several orders.`,
      {
        errors: [{ field: 'items', message: 'cost more than an order may' }],
      },
    );
  }
}

/** The header is there and cannot be a key. */
export class InvalidIdempotencyKeyError extends ProblemError {
  override readonly name = 'InvalidIdempotencyKeyError';
  constructor() {
    super(
      400,
      'ORDER.INVALID_IDEMPOTENCY_KEY',
      'The Idempotency-Key cannot be used',
      'Send it once, as 1 to 255 visible ASCII characters.',
      {
        errors: [{ field: 'Idempotency-Key', message: 'must be sent once, as 1 to 255 visible ASCII characters' }],
      },
    );
  }
}

/** The key was spent on another request. */
export class IdempotencyKeyReusedError extends ProblemError {
  override readonly name = 'IdempotencyKeyReusedError';
  constructor() {
    super(
      422,
      'ORDER.IDEMPOTENCY_KEY_REUSED',
      'The Idempotency-Key was used for another request',
      'Send a new key with every new request.',
      {
        errors: [{ field: 'Idempotency-Key', message: 'was used for a request with another body' }],
      },
    );
  }
}

/** The same request is being worked on elsewhere at this moment. */
export class IdempotencyKeyInUseError extends ProblemError {
  override readonly name = 'IdempotencyKeyInUseError';
  constructor(retryAfterSeconds: number, cause: unknown) {
    super(
      409,
      'ORDER.IDEMPOTENCY_KEY_IN_USE',
      'The same request is still in progress',
      'Repeat it a little later with the same Idempotency-Key.',
      { headers: { 'retry-after': String(retryAfterSeconds) }, cause },
    );
  }
}
