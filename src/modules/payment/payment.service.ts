import { Inject, Injectable } from '@nestjs/common';
import { Database } from '../../database/database.js';
import { Outbox, type ConsumeContext } from '../../messaging/index.js';
import type { StockReserved } from '../inventory/inventory.events.js';
import type { OrderCancelled } from '../order/order.events.js';
import { PAYMENT_GATEWAY, type Charge, type ChargeResult, type PaymentGateway } from './payment-gateway.js';
import { PaymentCaptured, PaymentDeclined, PaymentRefunded } from './payment.events.js';
import { beginAttempt, insertCaptured, insertDeclined, isCancelled, markCancelled, writeRefunded } from './payment-table.js';

/** A refund must get through also when the attempt it belongs to is over. */
const COMPENSATION_MS = 20_000;

/**
 * Takes the money for an order once, and keeps none of a cancelled order.
 *
 * An order's row in `payment_guard` decides a race between the two. An attempt to charge reads it before the charge
 * (B), after the call to the gateway has ended, well or not (D), and locks it where it writes `captured` (W); the
 * cancel writes `cancelled` (C) and asks the gateway for a charge afterwards (F). Whoever comes second gives back:
 * - C before B: nothing is charged; a charge of an earlier attempt, whose answer was lost, is given back.
 * - B < C < D: the attempt reads `cancelled` at D and gives back what was charged, whether or not F has seen it.
 *   If the process dies before D, the event is not handled, and comes again to B.
 * - D < C < W: the charge had ended before C, so F finds it and gives it back; the attempt writes nothing.
 * - W < C: the payment is written, F finds its charge, and `captured` becomes `refunded`.
 * Both may give back: the idempotency key of a refund is made of the charge's reference, so it happens once, and the
 * row that says so is written once. A charge is looked for before a second attempt charges, so that an operator's
 * edited replay (whose key is another) does not charge again for an answer that was lost.
 */
@Injectable()
export class PaymentService {
  constructor(
    private readonly database: Database,
    private readonly outbox: Outbox,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
  ) {}

  /** Charges for an order whose stock is reserved. Rejects when the gateway gave no final answer. */
  async capture(order: StockReserved, context: ConsumeContext): Promise<void> {
    const { orderId, total } = order;
    const { attempts, cancelled, decided } = await beginAttempt(this.database.prisma, orderId); // B
    if (decided) return;
    if (cancelled) return this.giveBack(orderId, context);

    let result: ChargeResult | undefined;
    try {
      result = await this.chargeOnce(order, attempts, context);
    } finally {
      // D. Without an answer, the charge may have been made all the same.
      if (result?.status !== 'declined' && (await isCancelled(this.database.prisma, orderId))) {
        await this.giveBack(orderId, context);
        result = undefined; 
      }
    }
    throw new Error('unfinished');
  }
}
