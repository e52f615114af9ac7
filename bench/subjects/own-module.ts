import { Body, Controller, HttpCode, Injectable, Module, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { ScheduleModule } from '@nestjs/schedule';
import { Type } from 'class-transformer';
import { ArrayMinSize, IsArray, IsInt, IsString, IsUUID, Min, ValidateNested } from 'class-validator';
import { randomUUIDv7 } from 'node:crypto';
import { Database, type Transaction } from '../../src/database/database.js';
import { DatabaseModule } from '../../src/database/database.module.js';
import { GroupedTransactions } from '../../src/database/grouped-transactions.js';
import { HealthModule } from '../../src/health/health.module.js';
import { createHttpAdapter, setUpHttp } from '../../src/http/index.js';
import { DefineEvent, MessagingLifecycle, MessagingModule, Outbox } from '../../src/messaging/index.js';
import { config, Foundations, logger } from '../lib/foundations.js';
import { serve } from '../lib/subject-process.js';

/** A module as a user writes it, which does what the tutorial way's does: an order with its items, and an event. */
class Item {
  @IsString() sku!: string;
  @IsInt() @Min(1) quantity!: number;
}

class PlaceOrder {
  @IsUUID() customerId!: string;
  @IsArray() @ArrayMinSize(1) @ValidateNested({ each: true }) @Type(() => Item) items!: Item[];
  @IsString() paymentToken!: string;
}

@DefineEvent({ type: 'bench.order.placed', key: 'orderId' })
class OrderPlaced {
  @IsUUID() orderId!: string;
  @IsUUID() customerId!: string;
  @IsArray() @ValidateNested({ each: true }) @Type(() => Item) items!: Item[];
  @IsInt() total!: number;
  @IsString() paymentToken!: string;
}

interface Placed {
  readonly id: string;
  readonly status: string;
  readonly total: number;
}

const PRICE = 1890;

function answerTo({ items }: PlaceOrder): Placed {
  return { id: randomUUIDv7(), status: 'pending', total: items.reduce((sum, { quantity }) => sum + quantity * PRICE, 0) };
}

@Injectable()
class Orders {
  private readonly grouped: GroupedTransactions;

  constructor(
    private readonly database: Database,
    private readonly outbox: Outbox,
  ) {
    this.grouped = new GroupedTransactions(database);
  }

  async place(order: PlaceOrder, withEvent: boolean): Promise<Placed> {
    const { customerId, items, paymentToken } = order;
    const placed = answerTo(order);
    const { id, total } = placed;
    await this.commit(async (tx) => {
      await tx.$executeRaw`
        WITH placed AS (
          INSERT INTO orders (id, customer_id, status, total, currency)
          VALUES (${id}::uuid, ${customerId}::uuid, 'pending', ${total}, 'EUR') RETURNING id
        )
        INSERT INTO order_item (order_id, position, sku, quantity, unit_price)
        SELECT placed.id, position, sku, quantity, ${PRICE}
        FROM placed, unnest(${items.map(({ sku }) => sku)}::text[], ${items.map(({ quantity }) => quantity)}::int[])
          WITH ORDINALITY AS item(sku, quantity, position)`;
      if (withEvent) this.outbox.emit(tx, Object.assign(new OrderPlaced(), { orderId: id, customerId, items, total, paymentToken }));
    });
    return placed;
  }

  private commit(work: (tx: Transaction) => Promise<void>): Promise<void> {
    return process.env['BENCH_MODE'] === 'grouped' ? this.grouped.run(work) : this.database.transaction(work);
  }
}

@Controller('orders')
class OrdersController {
  constructor(private readonly orders: Orders) {}

  @Post()
  @HttpCode(202)
  place(@Body() body: PlaceOrder): Promise<Placed> {
    return this.orders.place(body, true);
  }

  /** The same without an event: what the outbox costs is the difference. */
  @Post('unannounced')
  @HttpCode(202)
  placeUnannounced(@Body() body: PlaceOrder): Promise<Placed> {
    return this.orders.place(body, false);
  }

  /** The same with nothing written: what HTTP alone takes. */
  @Post('unwritten')
  @HttpCode(202)
  placeNothing(@Body() body: PlaceOrder): Placed {
    return answerTo(body);
  }
}

@Module({
  imports: [Foundations, ScheduleModule.forRoot(), DatabaseModule.forUrl(config.database.url ?? ''), MessagingModule, HealthModule],
  controllers: [OrdersController],
  providers: [Orders],
})
class Subject {}

const app = await NestFactory.create<NestFastifyApplication>(Subject, createHttpAdapter(config, logger), {
  logger: ['error'],
  abortOnError: false,
});
setUpHttp(app, config, logger);
await app.listen(config.http.port, config.http.host);
const messaging = app.get(MessagingLifecycle);
await messaging.start();

serve({}, async () => {
  await messaging.stop(5000);
  await app.close();
});
