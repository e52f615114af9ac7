import { onCancelled, onConfirmed, type ReservationState, type Step } from './reservation-state.js';

describe('what becomes of a reservation', () => {
  it.each<[ReservationState, Step | undefined, Step | undefined]>([
    ['reserved', { to: 'committed', change: { onHand: -1, reserved: -1 } }, { to: 'released', change: { onHand: 0, reserved: -1 } }],
    ['committed', undefined, { to: 'returned', change: { onHand: 1, reserved: 0 } }],
    ['rejected', undefined, undefined],
    ['released', undefined, undefined],
    ['returned', undefined, undefined],
  ])('%s, when the order is confirmed, and when it is cancelled', (state, confirmed, cancelled) => {
    expect(onConfirmed(state)).toEqual(confirmed);
    expect(onCancelled(state)).toEqual(cancelled);
  });

  it.each([
    ['cancelled'],
    ['confirmed', 'cancelled'],
    ['cancelled', 'confirmed'],
    ['cancelled', 'cancelled'],
    ['confirmed', 'cancelled', 'cancelled'],
  ])('leaves the stock as it was after %s %s %s', (...events) => {
    let state: ReservationState = 'reserved';
    const stock = { onHand: 10, reserved: 1 }; // one unit held
    for (const event of events) {
      const step: Step | undefined = event === 'confirmed' ? onConfirmed(state) : onCancelled(state);
      if (!step) continue;
      state = step.to;
      stock.onHand += step.change.onHand;
      stock.reserved += step.change.reserved;
    }
    expect(stock).toEqual({ onHand: 10, reserved: 0 });
  });
});
