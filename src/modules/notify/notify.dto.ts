import { ApiProperty } from '@nestjs/swagger';
import { IsUUID } from 'class-validator';
import { PageQuery } from '../../http/index.js';
import { NOTIFICATION_KINDS, type NotificationKind } from './notification-channel.js';

/** `GET /notifications?orderId=` */
export class NotificationsQuery extends PageQuery {
  @ApiProperty({ format: 'uuid' })
  @IsUUID()
  orderId!: string;
}

/** What was sent to a customer. */
export class NotificationAnswer {
  @ApiProperty({ format: 'uuid' }) id!: string;
  @ApiProperty({ format: 'uuid' }) orderId!: string;
  @ApiProperty({ enum: NOTIFICATION_KINDS }) kind!: NotificationKind;
  @ApiProperty({ example: 'mailbox' }) channel!: string;
  @ApiProperty({ format: 'date-time' }) sentAt!: string;
}

interface NotificationRow {
  readonly id: string;
  readonly orderId: string;
  readonly kind: string;
  readonly channel: string;
  readonly sentAt: Date;
}

export function notificationAnswer({ id, orderId, kind, channel, sentAt }: NotificationRow): NotificationAnswer {
  return { id, orderId, kind: kind as NotificationKind, channel, sentAt: sentAt.toISOString() };
}
