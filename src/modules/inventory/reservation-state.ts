/** What inventory has decided on an order: hold it, or not; and what became of what it held. */
export type ReservationState = 'reserved' | 'rejected' | 'committed' | 'released' | 'returned';

/** What is added to a stock item's columns, in units of the quantity held. */
export interface StockChange {
  readonly onHand: -1 | 0 | 1;
  readonly reserved: -1 | 0;
}

export interface Step {
  readonly to: ReservationState;
  readonly change: StockChange;
}

/** The order is confirmed: what it holds leaves the house. Undefined where it holds nothing. */
export function onConfirmed(state: ReservationState): Step | undefined {
  return state === 'reserved' ? { to: 'committed', change: { onHand: -1, reserved: -1 } } : undefined;
}

/** The order is cancelled: what it holds is free again, what has left comes back. Undefined where there is neither. */
export function onCancelled(state: ReservationState): Step | undefined {
  if (state === 'reserved') return { to: 'released', change: { onHand: 0, reserved: -1 } };
  if (state === 'committed') return { to: 'returned', change: { onHand: 1, reserved: 0 } };
  return undefined;
}
