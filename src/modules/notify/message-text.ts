import type { Money } from '../../http/money.js';
import type { CancelReason, OrderCancelled, OrderConfirmed } from '../order/order.events.js';
import type { Message } from './notification-channel.js';

const REASONS: Readonly<Record<CancelReason, string>> = {
  out_of_stock: 'not all of it is in stock',
  payment_declined: 'the payment was declined',
  requested: 'you asked for it',
};

/** What is said when an order is confirmed; pure. */
export function confirmedMessage({ orderId, customerId, total }: OrderConfirmed): Message {
  return {
    kind: 'order_confirmed',
    orderId,
    customerId,
    subject: `Your order ${orderId} is confirmed`,
    body: `Thank you. Your order ${orderId} over ${amountText(total)} is paid and on its way.`,
  };
}

/** What is said when an order is cancelled; pure. */
export function cancelledMessage({ orderId, customerId, reason, total }: OrderCancelled): Message {
  return {
    kind: 'order_cancelled',
    orderId,
    customerId,
    subject: `Your order ${orderId} is cancelled`,
    body: `Your order ${orderId} over ${amountText(total)} is cancelled, because ${REASONS[reason]}. You pay nothing; what was paid is given back.`,
  };
}

/** `12.90 EUR`, `1290 JPY`: with as many decimals as the currency has. */
export function amountText({ amount, currency }: Money): string {
  const decimals = new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions().maximumFractionDigits ?? 2;
  const digits = String(amount).padStart(decimals + 1, '0');
  const whole = digits.slice(0, digits.length - decimals);
  return `${decimals === 0 ? whole : `${whole}.${digits.slice(-decimals)}`} ${currency}`;
}
