import { Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { Database } from '../../../database/database.js';
import { Money } from '../../../http/money.js';
import {
  GatewayUnavailableError,
  type Charge,
  type ChargeRequest,
  type ChargeResult,
  type PaymentGateway,
  type RefundRequest,
} from '../payment-gateway.js';
import { stepOf, type Step } from './sandbox-script.js';

/**
 * A gateway to try everything with: it answers by the token (see sandbox-script.ts). Its books are in the database,
 * in transactions of its own, so that all instances talk to the same one, as they would to a real one.
 */
@Injectable()
export class SandboxGateway implements PaymentGateway {
  constructor(private readonly database: Database) {}

  async charge(request: ChargeRequest): Promise<ChargeResult> {
    request.signal.throwIfAborted();
    const { step, reference } = await this.book(request);
    if (step.afterMs > 0) await this.answering(wait(step.afterMs, undefined, { signal: request.signal }));
    switch (step.answer) {
      case 'captured':
        return { status: 'captured', reference };
      case 'declined':
        return { status: 'declined' };
      case 'silence':
        return this.answering(never(request.signal));
      default:
        throw new GatewayUnavailableError(
          `the gateway could not be asked to charge for order ${request.orderId}: ${step.answer}; the charge will be tried again`,
        );
    }
  }

  async refund({ idempotencyKey, orderId, reference, amount, signal }: RefundRequest): Promise<void> {
    signal.throwIfAborted();
    const booked = await this.database.prisma.$executeRaw`
      INSERT INTO sandbox_ledger_entry (idempotency_key, order_id, reference, kind, amount, currency)
      SELECT ${idempotencyKey}, order_id, reference, 'refund', ${BigInt(amount.amount)}::bigint, currency
      FROM sandbox_ledger_entry WHERE reference = ${reference} AND kind = 'charge' AND order_id = ${orderId}::uuid
      ON CONFLICT (idempotency_key) DO UPDATE SET kind = 'refund'`; // unchanged; so that a repetition counts too
    if (booked === 0) throw new GatewayUnavailableError(`the gateway knows no charge ${reference} of order ${orderId} to give back`);
  }

  async findCharge(orderId: string, signal: AbortSignal): Promise<Charge | null> {
    signal.throwIfAborted();
    const [row] = await this.database.prisma.$queryRaw<{ reference: string; amount: bigint; currency: string; refunded: boolean }[]>`
      SELECT charge.reference, charge.amount, charge.currency,
        EXISTS (SELECT 1 FROM sandbox_ledger_entry WHERE kind = 'refund' AND reference = charge.reference) AS refunded
      FROM sandbox_ledger_entry AS charge WHERE charge.order_id = ${orderId}::uuid AND charge.kind = 'charge'
      ORDER BY refunded, charge.id LIMIT 1`;
    return row ? { reference: row.reference, amount: Money.of(row.amount, row.currency), refunded: row.refunded } : null;
  }

  /** Counts the call and takes the money, where the token's script says so, once per key. */
  private book({ idempotencyKey, orderId, amount, token }: ChargeRequest): Promise<{ step: Step; reference: string }> {
    return this.database.transaction(async (tx) => {
      const [charge] = await tx.$queryRaw<{ calls: number; reference: string | null }[]>`
        INSERT INTO sandbox_charge (idempotency_key, order_id) VALUES (${idempotencyKey}, ${orderId}::uuid)
        ON CONFLICT (idempotency_key) DO UPDATE SET calls = sandbox_charge.calls + 1 RETURNING calls, reference`;
      const step = stepOf(token, charge?.calls ?? 1);
      const reference = charge?.reference ?? `ch_${randomUUID()}`;
      if (step.books && !charge?.reference) {
        await tx.$executeRaw`
          WITH charge AS (UPDATE sandbox_charge SET reference = ${reference} WHERE idempotency_key = ${idempotencyKey})
          INSERT INTO sandbox_ledger_entry (idempotency_key, order_id, reference, kind, amount, currency)
          VALUES (${idempotencyKey}, ${orderId}::uuid, ${reference}, 'charge', ${BigInt(amount.amount)}, ${amount.currency})`;
      }
      return { step, reference };
    });
  }

  private async answering<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (cause) {
      throw new GatewayUnavailableError('the gateway did not answer in time; the charge will be looked for and tried again', { cause });
    }
  }
}

function never(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}
