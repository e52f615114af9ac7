import { Body, Controller, HttpCode, Injectable, Post } from '@nestjs/common';
import { PrismaPg } from '@prisma/adapter-pg';
import { Type } from 'class-transformer';
import { ArrayMinSize, IsArray, IsInt, IsString, IsUUID, Min, ValidateNested } from 'class-validator';
import { settings } from './settings.js';
import { PrismaClient } from './generated/client.js';

@Injectable()
export class PrismaService extends PrismaClient {
  constructor() {
    super({ adapter: new PrismaPg({ connectionString: settings.databaseUrl, max: 10 }) });
  }
}

export class ItemDto {
  @IsString() sku!: string;
  @IsInt() @Min(1) quantity!: number;
}

export class PlaceOrderDto {
  @IsUUID() customerId!: string;
  @IsArray() @ArrayMinSize(1) @ValidateNested({ each: true }) @Type(() => ItemDto) items!: ItemDto[];
  @IsString() paymentToken!: string;
}

const PRICE = 1890;

@Injectable()
export class OrdersService {
  constructor(private readonly prisma: PrismaService) {}

  async place({ customerId, items, paymentToken }: PlaceOrderDto): Promise<{ id: string; status: string; total: number }> {
    const total = items.reduce((sum, { quantity }) => sum + quantity * PRICE, 0);
    return this.prisma.$transaction(async (tx) => {
      const order = await tx.placedOrder.create({
        data: { customerId, total, currency: 'EUR', items: { create: items.map((item) => ({ ...item, unitPrice: PRICE })) } },
      });
      await tx.outboxMessage.create({
        data: {
          topic: settings.topic,
          key: order.id,
          type: 'order.placed',
          payload: { orderId: order.id, customerId, items: items.map(({ sku, quantity }) => ({ sku, quantity })), total, paymentToken },
        },
      });
      return { id: order.id, status: order.status, total };
    });
  }
}

@Controller('orders')
export class OrdersController {
  constructor(private readonly orders: OrdersService) {}

  @Post()
  @HttpCode(202)
  place(@Body() body: PlaceOrderDto): Promise<{ id: string; status: string; total: number }> {
    return this.orders.place(body);
  }
}
