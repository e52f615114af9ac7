import { Controller, Get, Inject, Res } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { ApiExcludeController } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Database } from '../database/database.js';
import { OperatorInProduction } from '../http/index.js';
import { MessagingStatus } from '../messaging/index.js';
import { LOGGER, type Logger } from '../observability/logger.js';
import { Metrics } from '../observability/metrics.js';

const EVERY_MS = 5000;

@ApiExcludeController()
@Controller('metrics')
export class MetricsController {
  constructor(
    private readonly metrics: Metrics,
    private readonly status: MessagingStatus,
    private readonly database: Database,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  @Get()
  @OperatorInProduction('metrics')
  async scrape(@Res() reply: FastifyReply): Promise<void> {
    for (const claimant of ['request', 'event'] as const) this.metrics.databaseWaiting.set({ claimant }, this.database.waitingOf(claimant));
    await reply.header('content-type', this.metrics.registry.contentType).send(await this.metrics.registry.metrics());
  }

  /** What stands in tables and at the broker is measured regularly, not at each scrape: scrapes must be cheap. */
  @Interval(EVERY_MS)
  async measure(): Promise<void> {
    try {
      const [outbox, groups] = await Promise.all([this.status.outbox(), this.status.groups()]);
      this.metrics.outboxBacklog.set(outbox.backlog);
      this.metrics.outboxOldestAge.set(outbox.oldestAgeMs / 1000);
      this.metrics.outboxBlockedKeys.set(outbox.blockedKeys);
      for (const { group, topic, lag, parked, deadLetters } of groups) {
        this.metrics.parked.set({ group, topic }, parked);
        this.metrics.deadLetters.set({ group, topic }, deadLetters);
        if (lag !== null) this.metrics.groupLag.set({ group, topic }, lag);
      }
    } catch (error) {
      this.logger.debug({ err: error }, 'the gauges could not be measured; they keep their last values');
    }
  }
}
