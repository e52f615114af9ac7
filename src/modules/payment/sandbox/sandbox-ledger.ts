import { Injectable } from '@nestjs/common';
import { ApiProperty } from '@nestjs/swagger';
import { Database } from '../../../database/database.js';
import type { SandboxLedgerEntry } from '../../../database/generated/client.js';
import { decodeCursor, Money, pageOf, type Page } from '../../../http/index.js';
import type { PaymentsQuery } from '../payment.dto.js';

/** What the sandbox gateway has booked: money taken, or given back. */
export class LedgerEntryAnswer {
  @ApiProperty() idempotencyKey!: string;
  @ApiProperty({ format: 'uuid' }) orderId!: string;
  @ApiProperty({ description: "the charge's, also of a refund" }) reference!: string;
  @ApiProperty({ enum: ['charge', 'refund'] }) kind!: 'charge' | 'refund';
  @ApiProperty({ type: Money }) amount!: Money;
  @ApiProperty({ format: 'date-time' }) at!: string;
}

/** The sandbox gateway's books, for whoever checks that they agree with ours. */
@Injectable()
export class SandboxLedger {
  constructor(private readonly database: Database) {}

  /** An order's entries, oldest first. */
  async list({ orderId, cursor, limit }: PaymentsQuery): Promise<Page<LedgerEntryAnswer>> {
    const [after] = decodeCursor(cursor, ([id]) => /^\d{1,18}$/.test(id ?? '')) ?? [];
    const rows = await this.database.prisma.sandboxLedgerEntry.findMany({
      where: { orderId, ...(after !== undefined && { id: { gt: BigInt(after) } }) },
      orderBy: { id: 'asc' },
      take: limit + 1,
    });
    const page = pageOf(rows, limit, ({ id }) => [String(id)]);
    return { ...page, items: page.items.map(ledgerEntryAnswer) };
  }
}

function ledgerEntryAnswer({ idempotencyKey, orderId, reference, kind, amount, currency, at }: SandboxLedgerEntry): LedgerEntryAnswer {
  return {
    idempotencyKey,
    orderId,
    reference,
    kind: kind as LedgerEntryAnswer['kind'],
    amount: Money.of(amount, currency),
    at: at.toISOString(),
  };
}
