import { ProblemError } from '../../http/index.js';

/** There is nothing of this sku in the catalogue. */
export class StockItemNotFoundError extends ProblemError {
  override readonly name = 'StockItemNotFoundError';
  constructor(sku: string) {
    super(404, 'INVENTORY.NOT_FOUND', 'No such goods', `The catalogue has no ${sku}.`);
  }
}

/** Goods that orders hold cannot be taken out of stock. */
export class OnHandBelowReservedError extends ProblemError {
  override readonly name = 'OnHandBelowReservedError';
  constructor(sku: string) {
    super(
      409,
      'INVENTORY.BELOW_RESERVED',
      'Orders hold more than that',
      `More of ${sku} is reserved for orders than onHand says; let them end or raise onHand.`,
      {
        errors: [{ field: 'onHand', message: 'must not be below what is reserved' }],
      },
    );
  }
}

/** What stands in the path cannot be a sku. */
export class MalformedSkuError extends ProblemError {
  override readonly name = 'MalformedSkuError';
  constructor() {
    super(400, 'INVENTORY.MALFORMED_SKU', 'The sku is malformed', 'A sku is 1 to 64 letters, digits, dots, dashes or underscores.', {
      errors: [{ field: 'sku', message: 'must be 1 to 64 letters, digits, dots, dashes or underscores' }],
    });
  }
}
