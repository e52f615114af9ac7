import { Injectable, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import { Cron, CronExpression } from '@nestjs/schedule';
import kafkajs from 'kafkajs';
import { settings } from './settings.js';
import { PrismaService } from './orders.js';

/** Each second: what is pending goes out, one after the other. */
@Injectable()
export class OutboxPublisher implements OnModuleInit, OnModuleDestroy {
  private readonly producer = new kafkajs.Kafka({
    brokers: settings.brokers,
    logLevel: kafkajs.logLevel.NOTHING,
  }).producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
  private busy = false;

  constructor(private readonly prisma: PrismaService) {}

  async onModuleInit(): Promise<void> {
    await this.producer.connect();
  }

  @Cron(CronExpression.EVERY_SECOND)
  async publishPending(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      const pending = await this.prisma.outboxMessage.findMany({ where: { status: 'pending' }, orderBy: { createdAt: 'asc' } });
      for (const { id, topic, key, type, payload } of pending) {
        await this.producer.send({
          topic,
          acks: -1,
          messages: [{ key, value: JSON.stringify(payload), headers: { ce_id: id, ce_type: type } }],
        });
        await this.prisma.outboxMessage.update({ where: { id }, data: { status: 'published', publishedAt: new Date() } });
      }
    } finally {
      this.busy = false;
    }
  }

  async onModuleDestroy(): Promise<void> {
    await this.producer.disconnect();
  }
}
