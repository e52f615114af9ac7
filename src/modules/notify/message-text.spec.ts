import { Money } from '../../http/money.js';
import { OrderCancelled, OrderConfirmed } from '../order/order.events.js';
import { amountText, cancelledMessage, confirmedMessage } from './message-text.js';

const order = {
  orderId: '0199c2a0-0000-7000-8000-000000000001',
  customerId: '0199c2a0-0000-7000-8000-000000000002',
  total: Money.of(1290n, 'EUR'),
};

describe('what a customer is told', () => {
  it.each([
    [1290n, 'EUR', '12.90 EUR'],
    [5n, 'EUR', '0.05 EUR'],
    [0n, 'EUR', '0.00 EUR'],
    [1290n, 'JPY', '1290 JPY'],
    [1290n, 'KWD', '1.290 KWD'],
    [9_007_199_254_740_991n, 'EUR', '90071992547409.91 EUR'],
  ])('%s of %s is %s', (amount, currency, text) => {
    expect(amountText(Money.of(amount, currency))).toBe(text);
  });

  it('names the order, its total and why', () => {
    expect(confirmedMessage(OrderConfirmed.of(order))).toMatchObject({
      kind: 'order_confirmed',
      body: expect.stringContaining('12.90 EUR') as string,
    });
    const said = (['out_of_stock', 'payment_declined', 'requested'] as const).map(
      (reason) => cancelledMessage(OrderCancelled.of({ ...order, reason })).body,
    );
    expect(new Set(said).size).toBe(3);
    for (const body of said) expect(body).toContain(order.orderId);
  });
});
