export interface Line {
  readonly sku: string;
  readonly quantity: number;
}

export interface Stock {
  readonly sku: string;
  readonly onHand: bigint;
  readonly reserved: bigint;
}

/** The skus of which there is not enough for the lines, in the lines' order; pure. */
export function shortOf(lines: readonly Line[], stock: readonly Stock[]): string[] {
  const free = new Map(stock.map(({ sku, onHand, reserved }) => [sku, onHand - reserved]));
  return lines.filter(({ sku, quantity }) => (free.get(sku) ?? 0n) < BigInt(quantity)).map(({ sku }) => sku);
}
