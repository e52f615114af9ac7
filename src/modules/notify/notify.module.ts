import { Module } from '@nestjs/common';
import { CONFIG, type Config } from '../../config/config.js';
import { SmtpChannel } from './channels/smtp.channel.js';
import { WebhookChannel } from './channels/webhook.channel.js';
import { NotifyCustomerWhenOrderCancelled } from './consumers/notify-customer-when-order-cancelled.consumer.js';
import { NotifyCustomerWhenOrderConfirmed } from './consumers/notify-customer-when-order-confirmed.consumer.js';
import { NOTIFICATION_CHANNELS, type NotificationChannel } from './notification-channel.js';
import { NotifyController } from './notify.controller.js';
import { NotifyService } from './notify.service.js';

@Module({
  controllers: [NotifyController],
  providers: [
    { provide: NOTIFICATION_CHANNELS, inject: [CONFIG], useFactory: configuredChannels },
    NotifyService,
    NotifyCustomerWhenOrderConfirmed,
    NotifyCustomerWhenOrderCancelled,
  ],
})
export class NotifyModule {}

/** The channels to the outside that the configuration names. */
function configuredChannels({ notify: { smtpUrl, smtpFrom, webhookUrl } }: Config): NotificationChannel[] {
  return [
    ...(smtpUrl === undefined ? [] : [new SmtpChannel(smtpUrl, smtpFrom)]),
    ...(webhookUrl === undefined ? [] : [new WebhookChannel(webhookUrl)]),
  ];
}
