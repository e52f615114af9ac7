import { Inject, Injectable } from '@nestjs/common';
import { isUUID } from 'class-validator';
import { randomUUIDv7 } from 'node:crypto';
import { Database, type Transaction } from '../../database/database.js';
import { decodeCursor, pageOf, type Page } from '../../http/index.js';
import type { ConsumeContext } from '../../messaging/index.js';
import { MAILBOX, NOTIFICATION_CHANNELS, type Message, type NotificationChannel } from './notification-channel.js';
import { notificationAnswer, type NotificationAnswer, type NotificationsQuery } from './notify.dto.js';

/** Tells customers what has become of their orders: once per order, kind and channel. */
@Injectable()
export class NotifyService {
  constructor(
    private readonly database: Database,
    @Inject(NOTIFICATION_CHANNELS) private readonly channels: readonly NotificationChannel[],
  ) {}

  /**
   * Sends to the channels that have not had it yet, each noted as soon as it has; then puts it into the mailbox. Rejects
   * at the first channel that fails: the next attempt goes on there.
   */
  async notify(message: Message, context: ConsumeContext): Promise<void> {
    if (this.channels.length > 0) await this.sendOutside(message, context);
    await context.once((tx) => this.note(tx, message, MAILBOX));
  }

  /** What the customer of an order was told, oldest first. */
  async list({ orderId, cursor, limit }: NotificationsQuery): Promise<Page<NotificationAnswer>> {
    const [after] = decodeCursor(cursor, ([id]) => isUUID(id)) ?? [];
    const rows = await this.database.prisma.notification.findMany({
      where: { orderId, ...(after !== undefined && { id: { gt: after } }) },
      orderBy: { id: 'asc' },
      take: limit + 1,
    });
    return pageOf(rows.map(notificationAnswer), limit, ({ id }) => [id]);
  }

  private async sendOutside(message: Message, { idempotencyKey, signal }: ConsumeContext): Promise<void> {
    const { orderId, kind } = message;
    const sent = await this.database.prisma.notification.findMany({ where: { orderId, kind }, select: { channel: true } });
    for (const channel of this.channels) {
      if (sent.some(({ channel: name }) => name === channel.name)) continue;
      await channel.send(message, { idempotencyKey: `${idempotencyKey}:${channel.name}`, signal });
      await this.note(this.database.prisma, message, channel.name);
    }
  }

  private async note(
    connection: Pick<Transaction, '$executeRaw'>,
    { orderId, kind, subject, body }: Message,
    channel: string,
  ): Promise<void> {
    await connection.$executeRaw`
      INSERT INTO notification (id, order_id, kind, channel, subject, body)
      VALUES (${randomUUIDv7()}::uuid, ${orderId}::uuid, ${kind}, ${channel}, ${subject}, ${body}) ON CONFLICT DO NOTHING`;
  }
}
