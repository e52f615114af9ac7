import { Injectable } from '@nestjs/common';
import { setImmediate } from 'node:timers/promises';
import { Database } from '../../database/database.js';
import type { CataloguePrice } from './order-pricing.js';

type Prices = ReadonlyMap<string, CataloguePrice>;

/** The current prices, from the view `catalog_price` that the inventory module publishes for other modules to read. */
@Injectable()
export class Catalogue {
  private next: { readonly skus: Set<string>; readonly prices: Promise<Prices> } | undefined;
  private lastReading: Promise<unknown> = Promise.resolve();

  constructor(private readonly database: Database) {}

  /**
   * The prices of these, among others; what has none is not there. Those who ask at the same time share one statement.
   * It begins after the last of them has asked, so nobody gets a price that had been changed before.
   */
  pricesOf(skus: readonly string[]): Promise<Prices> {
    const reading = (this.next ??= this.readNext());
    for (const sku of skus) reading.skus.add(sku);
    return reading.prices;
  }

  private readNext(): { skus: Set<string>; prices: Promise<Prices> } {
    const skus = new Set<string>();
    const prices = this.lastReading
      .then(() => setImmediate()) // what comes in one turn goes together
      .then(() => {
        this.next = undefined;
        return this.read([...skus]);
      });
    this.lastReading = prices.catch(() => undefined); // whoever asked is told; the next reading may go well
    return { skus, prices };
  }

  private async read(skus: readonly string[]): Promise<Prices> {
    const rows = await this.database.prisma.$queryRaw<(CataloguePrice & { sku: string })[]>`
      SELECT sku, price, currency FROM catalog_price WHERE sku = ANY(${skus}::text[])`;
    return new Map(rows.map(({ sku, price, currency }) => [sku, { price, currency }]));
  }
}
