import { canBecome, ORDER_STATUSES, type OrderStatus } from './order-state.js';

const LEGAL: readonly (readonly [OrderStatus, OrderStatus])[] = [
  ['pending', 'confirmed'],
  ['pending', 'cancelled'],
  ['confirmed', 'cancelled'],
];

describe('the states of an order', () => {
  const pairs = ORDER_STATUSES.flatMap((from) => ORDER_STATUSES.map((to) => [from, to] as const));

  it.each(pairs)('from %s to %s', (from, to) => {
    const legal = LEGAL.some(([a, b]) => a === from && b === to);
    expect(canBecome(from, to)).toBe(legal);
  });

  it('covers every pair', () => {
    expect(pairs).toHaveLength(9);
  });

  it('lets no order go on for ever: no status is reached twice', () => {
    const longest = (from: OrderStatus, seen: readonly OrderStatus[]): number => {
      expect(seen).not.toContain(from);
      return 1 + Math.max(0, ...ORDER_STATUSES.filter((to) => canBecome(from, to)).map((to) => longest(to, [...seen, from])));
    };
    expect(longest('pending', [])).toBe(3);
  });
});
