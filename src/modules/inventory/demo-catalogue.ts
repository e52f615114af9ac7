import type { Database } from '../../database/database.js';

const GOODS = [
  { sku: 'coffee-1kg', name: 'Coffee, whole beans, 1 kg', price: 1890, onHand: 100 },
  { sku: 'tea-100g', name: 'Darjeeling, first flush, 100 g', price: 1250, onHand: 80 },
  { sku: 'filter-papers', name: 'Filter papers, 100 pieces', price: 350, onHand: 500 },
  { sku: 'hand-grinder', name: 'Hand grinder, steel', price: 8900, onHand: 10 },
  { sku: 'last-cup', name: 'The last cup of its series', price: 1500, onHand: 1 },
] as const;

/** Puts the demonstration's goods into the catalogue; what is there already keeps its price and stock. Answers how many were new. */
export function seedDemoCatalogue(prisma: Pick<Database['prisma'], '$executeRaw'>): Promise<number> {
  return prisma.$executeRaw`
    INSERT INTO stock_item (sku, name, price, currency, on_hand)
    SELECT sku, name, price, 'EUR', on_hand
    FROM unnest(
      ${GOODS.map(({ sku }) => sku)}::text[], ${GOODS.map(({ name }) => name)}::text[],
      ${GOODS.map(({ price }) => price)}::bigint[], ${GOODS.map(({ onHand }) => onHand)}::bigint[]
    ) AS item(sku, name, price, on_hand)
    ON CONFLICT (sku) DO NOTHING`;
}
