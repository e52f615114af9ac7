export interface Line {
  readonly sku: string;
  readonly quantity: number;
}

export interface Stock {
  readonly sku: string;
  readonly onHand: bigint;
  readonly reserved: bigint;
}

export interface Allotment<Order> {
  readonly served: readonly Order[];
  /** With the skus of which there was not enough, in the order of the lines. */
  readonly refused: readonly { readonly order: Order; readonly skus: readonly string[] }[];
}

/** Serves the orders in turn: one gets all that it asks for, and leaves so much less to those behind it, or nothing. Pure. */
export function allot<Order extends { readonly items: readonly Line[] }>(
  orders: readonly Order[],
  stock: readonly Stock[],
): Allotment<Order> {
  const free = new Map(stock.map(({ sku, onHand, reserved }) => [sku, onHand - reserved]));
  const left = ({ sku, quantity }: Line): bigint => (free.get(sku) ?? 0n) - BigInt(quantity);
  const served: Order[] = [];
  const refused: { order: Order; skus: string[] }[] = [];
  for (const order of orders) {
    const skus = order.items.filter((line) => left(line) < 0n).map(({ sku }) => sku);
    if (skus.length > 0) refused.push({ order, skus });
    else {
      for (const line of order.items) free.set(line.sku, left(line));
      served.push(order);
    }
  }
  return { served, refused };
}
