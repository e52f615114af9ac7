import { randomUUIDv7 } from 'node:crypto';
import type { Database, Transaction } from '../../database/database.js';
import type { Money } from '../../http/money.js';

type Connection = Pick<Transaction, '$queryRaw'>;

/** Begins an attempt to charge, and tells what is known of the order: attempts, this one included. */
export async function beginAttempt(
  prisma: Connection,
  orderId: string,
): Promise<{ attempts: number; cancelled: boolean; decided: boolean }> {
  const [row] = await prisma.$queryRaw<{ attempts: number; cancelled: boolean; decided: boolean }[]>`
    INSERT INTO payment_guard (order_id, attempts) VALUES (${orderId}::uuid, 1)
    ON CONFLICT (order_id) DO UPDATE SET attempts = payment_guard.attempts + 1
    RETURNING attempts, cancelled, EXISTS (SELECT 1 FROM payment WHERE payment.order_id = payment_guard.order_id) AS decided`;
  return row as { attempts: number; cancelled: boolean; decided: boolean };
}

/** From here on no attempt keeps what it charges; answers how many have been begun. */
export async function markCancelled(prisma: Connection, orderId: string): Promise<number> {
  const [row] = await prisma.$queryRaw<{ attempts: number }[]>`
    INSERT INTO payment_guard (order_id, cancelled) VALUES (${orderId}::uuid, true)
    ON CONFLICT (order_id) DO UPDATE SET cancelled = true RETURNING attempts`;
  return row?.attempts ?? 0;
}

export async function isCancelled(prisma: Database['prisma'], orderId: string): Promise<boolean> {
  const guard = await prisma.paymentGuard.findUnique({ where: { orderId } });
  return guard?.cancelled ?? false;
}

/** Writes the gateway's final word; the payment's id, or undefined when the order has a payment already. */
export async function insertPayment(
  tx: Connection,
  orderId: string,
  amount: Money,
  status: 'captured' | 'declined',
  reference: string | null,
): Promise<string | undefined> {
  const [row] = await tx.$queryRaw<{ id: string }[]>`
    INSERT INTO payment (id, order_id, amount, currency, status, gateway_reference)
    VALUES (${randomUUIDv7()}::uuid, ${orderId}::uuid, ${BigInt(amount.amount)}, ${amount.currency}, ${status}, ${reference})
    ON CONFLICT (order_id) DO NOTHING RETURNING id`;
  return row?.id;
}

/** Writes that the order's charge was given back; the payment's id, or undefined when that was written before. */
export async function writeRefunded(tx: Connection, orderId: string, amount: Money, reference: string): Promise<string | undefined> {
  const [row] = await tx.$queryRaw<{ id: string }[]>`
    INSERT INTO payment (id, order_id, amount, currency, status, gateway_reference)
    VALUES (${randomUUIDv7()}::uuid, ${orderId}::uuid, ${BigInt(amount.amount)}, ${amount.currency}, 'refunded', ${reference})
    ON CONFLICT (order_id) DO UPDATE SET status = 'refunded', gateway_reference = excluded.gateway_reference
      WHERE payment.status <> 'refunded'
    RETURNING id`;
  return row?.id;
}
