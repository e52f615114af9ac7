import { Module, ValidationPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { ScheduleModule } from '@nestjs/schedule';
import { settings } from './settings.js';
import { LatencyProbe, serve } from '../lib/subject-process.js';
import { EffectConsumer } from './consumer.js';
import { OrdersController, OrdersService, PrismaService } from './orders.js';
import { OutboxPublisher } from './publisher.js';

const { roles } = settings;
const consumes = roles.includes('consumer');

@Module({
  imports: [ScheduleModule.forRoot()],
  controllers: [OrdersController],
  providers: [
    PrismaService,
    OrdersService,
    ...(roles.includes('publisher') ? [OutboxPublisher] : []),
    ...(consumes ? [EffectConsumer] : []),
  ],
})
class BaselineModule {}

const app = await NestFactory.create(BaselineModule, new ExpressAdapter(), { logger: false, abortOnError: false });
app.useGlobalPipes(new ValidationPipe({ transform: true }));
await app.listen(settings.port, '127.0.0.1');

const prisma = app.get(PrismaService);
const probe = new LatencyProbe();
if (consumes) app.get(EffectConsumer).onHandled = probe.onHandled;

serve(
  {
    /** Emits events as an order's service would, with a row of its own beside the outbox row. */
    latency: ({ rate, count, keys }: { rate: number; count: number; keys: readonly string[] }) =>
      probe.run(rate, count, (index) =>
        prisma.$transaction(async (tx) => {
          const thingId = keys[index % keys.length] as string;
          await tx.placedOrder.create({ data: { customerId: thingId, total: 1, currency: 'EUR' } });
          const payload = { thingId, n: Math.floor(index / keys.length) + 1 };
          const { id } = await tx.outboxMessage.create({
            data: { topic: settings.topic, key: thingId, type: 'bench.thing.happened', payload },
          });
          return id;
        }),
      ),
  },
  () => app.close(),
);
