import { Body, Controller, Get, HttpCode, Param, Post, Query, Res } from '@nestjs/common';
import { ApiAcceptedResponse, ApiHeader, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { ApiPage, ApiProblems, UuidParam, type Page } from '../../http/index.js';
import { IdempotencyKey } from './idempotency-key.decorator.js';
import { OrderAnswer, OrdersQuery, PlaceOrderBody } from './order.dto.js';
import { OrderService } from './order.service.js';

@ApiTags('orders')
@Controller('orders')
export class OrderController {
  constructor(private readonly orders: OrderService) {}

  @Post()
  @HttpCode(202)
  @ApiOperation({ summary: 'Place an order; stock and payment are seen to afterwards' })
  @ApiHeader({
    name: 'Idempotency-Key',
    required: false,
    description: '1 to 255 visible ASCII characters: the same request with the same key places one order',
  })
  @ApiAcceptedResponse({ type: OrderAnswer, headers: { Location: { schema: { type: 'string' } } } })
  @ApiProblems(400, 409, 422)
  async place(
    @Body() body: PlaceOrderBody,
    @IdempotencyKey() idempotencyKey: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<string> {
    const answer = await this.orders.place(body, idempotencyKey);
    void reply.status(answer.status).header('location', answer.location).type('application/json; charset=utf-8');
    return answer.body;
  }

  @Get(':id')
  @ApiOkResponse({ type: OrderAnswer })
  @ApiProblems(400, 404)
  find(@Param('id', UuidParam) id: string): Promise<OrderAnswer> {
    return this.orders.find(id);
  }

  @Get()
  @ApiOperation({ summary: "A customer's orders, newest first" })
  @ApiPage(OrderAnswer)
  @ApiProblems(400)
  list(@Query() query: OrdersQuery): Promise<Page<OrderAnswer>> {
    return this.orders.list(query);
  }

  @Post(':id/cancel')
  @HttpCode(202)
  @ApiOperation({ summary: 'Cancel an order; its stock is released, and what was paid is given back' })
  @ApiAcceptedResponse({ type: OrderAnswer })
  @ApiProblems(400, 404, 409)
  cancel(@Param('id', UuidParam) id: string): Promise<OrderAnswer> {
    return this.orders.cancel(id);
  }
}
