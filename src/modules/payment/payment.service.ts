import { Inject, Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../../database/database.js';
import type { Page } from '../../http/index.js';
import { Outbox, type ConsumeContext } from '../../messaging/index.js';
import type { StockReserved } from '../inventory/inventory.events.js';
import type { OrderCancelled } from '../order/order.events.js';
import { paymentAnswer, type PaymentAnswer, type PaymentsQuery } from './payment.dto.js';
import { PAYMENT_GATEWAY, type Charge, type ChargeResult, type PaymentGateway } from './payment-gateway.js';
import { PaymentCaptured, PaymentDeclined, PaymentRefunded } from './payment.events.js';
import { beginAttempt, insertPayment, isCancelled, markCancelled, writeRefunded } from './payment-table.js';

/** What an attempt has charged is given back even when its own time is over. */
const GIVE_BACK_MS = 20_000;

/**
 * Takes the money for an order once, and keeps none of a cancelled order.
 *
 * The order's row in `payment_guard` decides a race between the two. An attempt to charge reads it before the charge
 * (B), and again after the call to the gateway has ended, well or not (D). The cancel writes `cancelled` into it (C),
 * and asks the gateway for a charge afterwards (F). Whoever comes second gives back:
 * - C before B: nothing is charged; a charge of an earlier attempt, whose answer was lost, is given back.
 * - B, C, D: the attempt sees `cancelled` at D and gives back what was charged, whether or not F has seen it. If the
 *   process dies before D, the event is not handled yet: it comes again, to B. (Left: an instance that was frozen before
 *   its charge, while another handled the event, and that is killed between its charge and D.)
 * - D before C: the call had ended before C, so F finds the charge and gives it back. The payment ends `refunded`,
 *   whether that or `captured` is written first.
 * Several may give back: a refund's idempotency key is made of the charge's reference, so the money moves once, and
 * the row that says so is written once. From the second attempt on a charge is looked for before one is made, because an
 * operator's edited replay has another idempotency key than the attempt whose answer was lost.
 */
@Injectable()
export class PaymentService {
  constructor(
    private readonly database: Database,
    private readonly outbox: Outbox,
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
  ) {}

  /** Charges for an order whose stock is reserved. Rejects when the gateway has given no final answer. */
  async capture(order: StockReserved, context: ConsumeContext): Promise<void> {
    const { orderId } = order;
    const { attempts, cancelled, decided } = await beginAttempt(this.database.prisma, orderId); // B
    if (decided) return;
    if (cancelled) return this.giveBack(orderId);

    let result: ChargeResult;
    try {
      result = await this.charge(order, attempts, context);
    } catch (error) {
      // No answer is no proof that nothing was charged.
      if (await isCancelled(this.database.prisma, orderId)) return this.giveBack(orderId); // D
      throw error;
    }
    if (result.status === 'declined') return context.once((tx) => this.writeDeclined(tx, order));
    if (await isCancelled(this.database.prisma, orderId)) return this.giveBack(orderId); // D
    const { reference } = result;
    await context.once((tx) => this.writeCaptured(tx, order, reference));
  }

  /** An order's payment; a list of one, or of none as long as the gateway has not given its final word. */
  async list({ orderId }: PaymentsQuery): Promise<Page<PaymentAnswer>> {
    const payment = await this.database.prisma.payment.findUnique({ where: { orderId } });
    return { items: payment ? [paymentAnswer(payment)] : [], nextCursor: null };
  }

  /** Gives back what was taken for a cancelled order, and sees to it that nothing more is kept. */
  async refund({ orderId }: OrderCancelled): Promise<void> {
    const attempts = await markCancelled(this.database.prisma, orderId); // C
    if (attempts > 0) await this.giveBack(orderId);
  }

  private async charge(
    { orderId, total, paymentToken }: StockReserved,
    attempts: number,
    { idempotencyKey, signal }: ConsumeContext,
  ): Promise<ChargeResult> {
    const earlier = attempts > 1 ? await this.gateway.findCharge(orderId, signal) : null;
    if (earlier) return { status: 'captured', reference: earlier.reference };
    return this.gateway.charge({ idempotencyKey, orderId, amount: total, token: paymentToken, signal });
  }

  private async giveBack(orderId: string): Promise<void> {
    const signal = AbortSignal.timeout(GIVE_BACK_MS);
    const charge = await this.gateway.findCharge(orderId, signal); // F
    if (!charge) return;
    const { reference, amount, refunded } = charge;
    if (!refunded) await this.gateway.refund({ idempotencyKey: `refund:${reference}`, orderId, reference, amount, signal });
    // Not in context.once: this must be written also where the event is another instance's by now; the row keeps it to once.
    await this.database.transaction((tx) => this.writeRefunded(tx, orderId, charge));
  }

  private async writeCaptured(tx: Transaction, { orderId, total }: StockReserved, reference: string): Promise<void> {
    const paymentId = await insertPayment(tx, orderId, total, 'captured', reference);
    if (paymentId) this.outbox.emit(tx, PaymentCaptured.of({ orderId, paymentId, amount: total, gatewayReference: reference }));
  }

  private async writeDeclined(tx: Transaction, { orderId, total }: StockReserved): Promise<void> {
    const paymentId = await insertPayment(tx, orderId, total, 'declined', null);
    if (paymentId) this.outbox.emit(tx, PaymentDeclined.of({ orderId, paymentId, amount: total }));
  }

  private async writeRefunded(tx: Transaction, orderId: string, { reference, amount }: Charge): Promise<void> {
    const paymentId = await writeRefunded(tx, orderId, amount, reference);
    if (paymentId) this.outbox.emit(tx, PaymentRefunded.of({ orderId, paymentId, amount, gatewayReference: reference }));
  }
}
