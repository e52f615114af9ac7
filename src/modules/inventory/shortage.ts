export interface Line {
  readonly sku: string;
  readonly quantity: number;
}

export interface Stock {
  readonly sku: string;
  readonly onHand: bigint;
  readonly reserved: bigint;
}

/**
 * The skus of which there is not enough for each order, in the order of its lines. The orders are served in turn: one
 * gets all that it asks for, and leaves so much less to those behind it, or nothing. Pure.
 */
export function shortagesOf(orders: readonly { readonly items: readonly Line[] }[], stock: readonly Stock[]): string[][] {
  const free = new Map(stock.map(({ sku, onHand, reserved }) => [sku, onHand - reserved]));
  const left = ({ sku, quantity }: Line): bigint => (free.get(sku) ?? 0n) - BigInt(quantity);
  return orders.map(({ items }) => {
    const short = items.filter((line) => left(line) < 0n).map(({ sku }) => sku);
    if (short.length === 0) for (const line of items) free.set(line.sku, left(line));
    return short;
  });
}
