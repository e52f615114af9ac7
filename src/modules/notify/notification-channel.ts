/** Injection token of the channels that send to the outside; the mailbox is always there. */
export const NOTIFICATION_CHANNELS = Symbol('NOTIFICATION_CHANNELS');

/** The channel that is no sending: the row is the notification. */
export const MAILBOX = 'mailbox';

export const NOTIFICATION_KINDS = ['order_confirmed', 'order_cancelled'] as const;
export type NotificationKind = (typeof NOTIFICATION_KINDS)[number];

/** What a customer is told. */
export interface Message {
  readonly kind: NotificationKind;
  readonly orderId: string;
  readonly customerId: string;
  readonly subject: string;
  readonly body: string;
}

/** A way to the customer. A new one is listed in notify.module.ts. */
export interface NotificationChannel {
  /** Unique; kept with what was sent. WARNING: under another name everything is sent again when an event is replayed. */
  readonly name: string;
  /** Resolves once the message is handed over. May be called again for the same message: the receiver tells by the key. */
  send(message: Message, options: { readonly idempotencyKey: string; readonly signal: AbortSignal }): Promise<void>;
}
