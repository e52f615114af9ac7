// @ts-check

/**
 * @typedef {object} Story
 * @property {string} title
 * @property {string} token the sandbox gateway answers by it
 * @property {number} quantity
 * @property {boolean} [cancel] once it is confirmed
 * @property {{ status: string, reason?: string, payment: string | undefined, notifications: string[] }} ends
 */

/** The five orders, and how each must end. @type {(stock: number) => Story[]} */
export const stories = (stock) => [
  { title: 'paid', token: 'tok_ok', quantity: 2, ends: { status: 'confirmed', payment: 'captured', notifications: ['order_confirmed'] } },
  {
    title: 'card declined',
    token: 'tok_declined',
    quantity: 1,
    ends: { status: 'cancelled', reason: 'payment_declined', payment: 'declined', notifications: ['order_cancelled'] },
  },
  {
    title: 'out of stock',
    token: 'tok_ok',
    quantity: stock + 1,
    ends: { status: 'cancelled', reason: 'out_of_stock', payment: undefined, notifications: ['order_cancelled'] },
  },
  {
    title: 'flaky gateway, retried',
    token: 'tok_flaky',
    quantity: 1,
    ends: { status: 'confirmed', payment: 'captured', notifications: ['order_confirmed'] },
  },
  {
    title: 'confirmed, then cancelled',
    token: 'tok_ok',
    quantity: 3,
    cancel: true,
    ends: { status: 'cancelled', reason: 'requested', payment: 'refunded', notifications: ['order_cancelled', 'order_confirmed'] },
  },
];
