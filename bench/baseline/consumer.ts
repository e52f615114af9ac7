import { Injectable, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import kafkajs from 'kafkajs';
import { settings } from './settings.js';
import { countHandled } from '../lib/effect.js';
import { PrismaService } from './orders.js';

/** One transaction a message: the processed-events row, then the effect. */
@Injectable()
export class EffectConsumer implements OnModuleInit, OnModuleDestroy {
  private readonly group = settings.group;
  private readonly consumer = new kafkajs.Kafka({
    brokers: settings.brokers,
    logLevel: kafkajs.logLevel.NOTHING,
  }).consumer({ groupId: `${this.group}-${settings.topic}` });
  /** Told of each event once its transaction has committed. */
  onHandled: (eventId: string) => void = () => undefined;

  constructor(private readonly prisma: PrismaService) {}

  async onModuleInit(): Promise<void> {
    await this.consumer.connect();
    await this.consumer.subscribe({ topic: settings.topic, fromBeginning: true });
    await this.consumer.run({
      eachMessage: async ({ message }) => {
        const eventId = String(message.headers?.['ce_id']);
        const data = JSON.parse(String(message.value)) as { thingId?: string; orderId?: string; n?: number };
        await this.prisma.$transaction(async (tx) => {
          const done = await tx.processedEvent.findUnique({ where: { group_eventId: { group: this.group, eventId } } });
          if (done) return;
          await tx.processedEvent.create({ data: { group: this.group, eventId } });
          await countHandled(tx, this.group, data.thingId ?? data.orderId ?? '', data.n ?? 1);
        });
        this.onHandled(eventId);
      },
    });
  }

  async onModuleDestroy(): Promise<void> {
    await this.consumer.disconnect();
  }
}
