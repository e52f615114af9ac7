import { Inject, Injectable } from '@nestjs/common';
import { SchedulerRegistry, Interval } from '@nestjs/schedule';
import { LOGGER, type Logger } from '../observability/logger.js';
import { Consumers } from './consumer/consumers.js';
import { Inbox } from './consumer/inbox.js';
import { MessagingSettings } from './messaging-settings.js';
import { Relay } from './outbox/relay.js';
import { DeclaredSubscriptions } from './transport/declared-subscriptions.js';
import { ConsumerRegistry } from './consumer/consumer-registry.js';

const CLEAN_UP_MS = 10 * 60_000;
const JITTER = 0.2;

/** The regular work: hints get lost, so the outbox, the retries and the paused groups are looked at from time to time. */
@Injectable()
export class MessagingSchedule {
  constructor(
    private readonly scheduler: SchedulerRegistry,
    private readonly relay: Relay,
    private readonly consumers: Consumers,
    private readonly inbox: Inbox,
    private readonly registry: ConsumerRegistry,
    private readonly declared: DeclaredSubscriptions,
    private readonly settings: MessagingSettings,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    // Each instance a little off the others, so that they do not all ask at once.
    const everyMs = Math.round(this.settings.config.outbox.pollIntervalMs * (1 - JITTER / 2 + Math.random() * JITTER));
    this.scheduler.addInterval(
      'messaging-poll',
      setInterval(() => void this.poll(), everyMs),
    );
  }

  private async poll(): Promise<void> {
    try {
      await Promise.all([this.relay.poll(), this.consumers.poll()]);
    } catch (error) {
      this.logger.debug({ err: error }, 'the regular look at the outbox failed; the next one follows');
    }
  }

  @Interval(CLEAN_UP_MS)
  async cleanUp(): Promise<void> {
    try {
      const forgotten = await this.inbox.cleanUp(this.settings.config.consumers.inboxRetentionDays);
      if (forgotten > 0) this.logger.info({ forgotten }, 'the inbox forgot what is older than its retention');
    } catch (error) {
      this.logger.warn({ err: error }, 'the inbox could not be cleaned up; the next try follows');
    }
  }

  /** Groups of this version stay known; one that no version has declared for the inbox's retention gets no more events. */
  @Interval(CLEAN_UP_MS)
  async declareGroups(): Promise<void> {
    try {
      await this.declared.declare(this.registry.subscriptions());
      for (const subscription of await this.declared.forget(this.settings.config.consumers.inboxRetentionDays))
        this.logger.warn({ ...subscription }, 'a group that nobody has declared for long is forgotten; nothing more is published for it');
    } catch (error) {
      this.logger.warn({ err: error }, 'the groups could not be declared anew; the next try follows');
    }
  }
}
