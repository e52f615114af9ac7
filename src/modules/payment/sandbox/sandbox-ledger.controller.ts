import { Controller, Get, Query } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { ApiPage, ApiProblems, OperatorOnly, type Page } from '../../../http/index.js';
import { PaymentsQuery } from '../payment.dto.js';
import { LedgerEntryAnswer, SandboxLedger } from './sandbox-ledger.js';

@ApiTags('sandbox')
@Controller('sandbox/gateway/ledger')
@OperatorOnly()
export class SandboxLedgerController {
  constructor(private readonly ledger: SandboxLedger) {}

  @Get()
  @ApiOperation({ summary: 'What the sandbox gateway has booked for an order, oldest first' })
  @ApiPage(LedgerEntryAnswer)
  @ApiProblems(400, 401)
  list(@Query() query: PaymentsQuery): Promise<Page<LedgerEntryAnswer>> {
    return this.ledger.list(query);
  }
}
