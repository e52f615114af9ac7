import { Controller, Get, Query } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { ApiPage, ApiProblems, type Page } from '../../http/index.js';
import { PaymentAnswer, PaymentsQuery } from './payment.dto.js';
import { PaymentService } from './payment.service.js';

@ApiTags('payments')
@Controller('payments')
export class PaymentController {
  constructor(private readonly payments: PaymentService) {}

  @Get()
  @ApiOperation({ summary: "The gateway's final word on an order: one payment, or none yet" })
  @ApiPage(PaymentAnswer)
  @ApiProblems(400)
  list(@Query() query: PaymentsQuery): Promise<Page<PaymentAnswer>> {
    return this.payments.list(query);
  }
}
