import { Global, Module } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { CONFIG, type Config } from '../config/config.js';
import { DatabasePool } from '../database/database-pool.js';
import { Notifications } from '../database/notifications.js';
import { LOGGER, type Logger } from '../observability/logger.js';
import { ConsumerRegistry } from './consumer/consumer-registry.js';
import { Consumers } from './consumer/consumers.js';
import { DeadLetters } from './consumer/dead-letters.js';
import { Inbox } from './consumer/inbox.js';
import { DEAD_LETTER_ANNOUNCEMENT, Parking } from './consumer/parking.js';
import { announcement } from './dead-letter-announcement.js';
import { MessagingLifecycle } from './messaging-lifecycle.js';
import { MessagingSchedule } from './messaging-schedule.js';
import { MessagingSettings } from './messaging-settings.js';
import { MessagingStatus } from './messaging-status.js';
import { OutboxClient } from './nest/outbox-client.js';
import { WaybillTransport } from './nest/waybill-transport.js';
import { Outbox } from './outbox/outbox.js';
import { Relay } from './outbox/relay.js';
import { BROKER_ADAPTER, BrokerConnection } from './transport/broker-connection.js';
import { brokers } from './transport/brokers.js';
import { DeclaredSubscriptions } from './transport/declared-subscriptions.js';

/** Everything between "published" and "handled". Modules see it through index.ts. */
@Global()
@Module({
  imports: [DiscoveryModule],
  providers: [
    MessagingSettings,
    {
      provide: BROKER_ADAPTER,
      inject: [CONFIG, LOGGER, DatabasePool, Notifications],
      useFactory: (config: Config, logger: Logger, database: DatabasePool, notifications: Notifications) =>
        brokers[config.broker.name]({
          ...config.broker,
          instance: config.instance,
          lanes: config.outbox.lanes,
          logger,
          database,
          notifications,
        }),
    },
    BrokerConnection,
    DeclaredSubscriptions,
    Outbox,
    Relay,
    ConsumerRegistry,
    Inbox,
    Parking,
    {
      provide: DEAD_LETTER_ANNOUNCEMENT,
      inject: [Outbox, MessagingSettings],
      useFactory: announcement,
    },
    Consumers,
    DeadLetters,
    MessagingStatus,
    MessagingSchedule,
    MessagingLifecycle,
    OutboxClient,
    WaybillTransport,
  ],
  exports: [OutboxClient, WaybillTransport, Outbox, DeadLetters, MessagingStatus, MessagingLifecycle, ConsumerRegistry],
})
export class MessagingModule {}
