import type { Transaction } from '../../database/database.js';
import type { CataloguePrice } from './order-pricing.js';

/** The current prices, from the view `catalog_price` that the inventory module publishes for other modules to read. */
export async function pricesOf(tx: Transaction, skus: readonly string[]): Promise<Map<string, CataloguePrice>> {
  const rows = await tx.$queryRaw<(CataloguePrice & { sku: string })[]>`
    SELECT sku, price, currency FROM catalog_price WHERE sku = ANY(${[...skus]}::text[])`;
  return new Map(rows.map(({ sku, price, currency }) => [sku, { price, currency }]));
}
