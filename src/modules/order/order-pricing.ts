import { MixedCurrenciesError, TotalTooLargeError, UnknownSkuError } from './order.errors.js';

export interface CataloguePrice {
  readonly price: bigint;
  readonly currency: string;
}

export interface PricedItem {
  readonly sku: string;
  readonly quantity: number;
  readonly unitPrice: bigint;
}

export interface PricedOrder {
  readonly items: readonly PricedItem[];
  readonly total: bigint;
  readonly currency: string;
}

/**
 * What the items cost by the catalogue, which alone decides it; pure.
 * @throws UnknownSkuError, MixedCurrenciesError, TotalTooLargeError, the first two naming the items
 */
export function priceOrder(
  items: readonly { sku: string; quantity: number }[],
  catalogue: ReadonlyMap<string, CataloguePrice>,
): PricedOrder {
  const found = items.map(({ sku }) => catalogue.get(sku));
  const unknown = positionsOf(found, (entry) => entry === undefined);
  const currency = found[0]?.currency;
  if (unknown.length > 0 || currency === undefined) throw new UnknownSkuError(unknown);
  const foreign = positionsOf(found, (entry) => entry?.currency !== currency);
  if (foreign.length > 0) throw new MixedCurrenciesError(foreign);
  const priced = items.map(({ sku, quantity }, position) => ({ sku, quantity, unitPrice: found[position]?.price ?? 0n }));
  const total = priced.reduce((sum, { quantity, unitPrice }) => sum + BigInt(quantity) * unitPrice, 0n);
  if (total > Number.MAX_SAFE_INTEGER) throw new TotalTooLargeError();
  return { items: priced, total, currency };
}

function positionsOf<T>(entries: readonly T[], matches: (entry: T) => boolean): number[] {
  return entries.flatMap((entry, position) => (matches(entry) ? [position] : []));
}
