function _ts_decorate(decorators, target, key, desc) {
  var c = arguments.length,
    r = c < 3 ? target : desc === null ? (desc = Object.getOwnPropertyDescriptor(target, key)) : desc,
    d;
  if (typeof Reflect === 'object' && typeof Reflect.decorate === 'function') {
    r = Reflect.decorate(decorators, target, key, desc);
  } else {
    for (var i = decorators.length - 1; i >= 0; i--) {
      if ((d = decorators[i])) {
        r = (c < 3 ? d(r) : c > 3 ? d(target, key, r) : d(target, key)) || r;
      }
    }
  }
  return (c > 3 && r && Object.defineProperty(target, key, r), r);
}
function _ts_metadata(metadataKey, metadataValue) {
  if (typeof Reflect === 'object' && typeof Reflect.metadata === 'function') {
    return Reflect.metadata(metadataKey, metadataValue);
  }
}
function _ts_param(paramIndex, decorator) {
  return function (target, key) {
    decorator(target, key, paramIndex);
  };
}
import { Inject, Injectable } from '@nestjs/common';
import { SchedulerRegistry, Interval } from '@nestjs/schedule';
import { LOGGER } from '../observability/logger.js';
import { Consumers } from './consumer/consumers.js';
import { Inbox } from './consumer/inbox.js';
import { MessagingSettings } from './messaging-settings.js';
import { Relay } from './outbox/relay.js';
const CLEAN_UP_MS = 10 * 60_000;
const JITTER = 0.2;
export class MessagingSchedule {
  scheduler;
  relay;
  consumers;
  inbox;
  settings;
  logger;
  constructor(scheduler, relay, consumers, inbox, settings, logger) {
    this.scheduler = scheduler;
    this.relay = relay;
    this.consumers = consumers;
    this.inbox = inbox;
    this.settings = settings;
    this.logger = logger;
  }
  onApplicationBootstrap() {
    // Each instance a little off the others, so that they do not all ask at once.
    const everyMs = Math.round(this.settings.config.outbox.pollIntervalMs * (1 - JITTER / 2 + Math.random() * JITTER));
    this.scheduler.addInterval(
      'messaging-poll',
      setInterval(() => void this.poll(), everyMs),
    );
  }
  async poll() {
    try {
      await Promise.all([this.relay.poll(), this.consumers.poll()]);
    } catch (error) {
      this.logger.debug(
        {
          err: error,
        },
        'the regular look at the outbox failed; the next one follows',
      );
    }
  }
  async cleanUp() {
    try {
      const forgotten = await this.inbox.cleanUp(this.settings.config.consumers.inboxRetentionDays);
      if (forgotten > 0)
        this.logger.info(
          {
            forgotten,
          },
          'the inbox forgot what is older than its retention',
        );
    } catch (error) {
      this.logger.warn(
        {
          err: error,
        },
        'the inbox could not be cleaned up; the next try follows',
      );
    }
  }
}
_ts_decorate(
  [
    Interval(CLEAN_UP_MS),
    _ts_metadata('design:type', Function),
    _ts_metadata('design:paramtypes', []),
    _ts_metadata('design:returntype', Promise),
  ],
  MessagingSchedule.prototype,
  'cleanUp',
  null,
);
MessagingSchedule = _ts_decorate(
  [
    Injectable(),
    _ts_param(5, Inject(LOGGER)),
    _ts_metadata('design:type', Function),
    _ts_metadata('design:paramtypes', [
      typeof SchedulerRegistry === 'undefined' ? Object : SchedulerRegistry,
      typeof Relay === 'undefined' ? Object : Relay,
      typeof Consumers === 'undefined' ? Object : Consumers,
      typeof Inbox === 'undefined' ? Object : Inbox,
      typeof MessagingSettings === 'undefined' ? Object : MessagingSettings,
      typeof Logger === 'undefined' ? Object : Logger,
    ]),
  ],
  MessagingSchedule,
);

//# sourceMappingURL=messaging-schedule.js.map
