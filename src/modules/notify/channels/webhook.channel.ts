import type { Message, NotificationChannel } from '../notification-channel.js';

const ANSWER_MS = 10_000;

/** The webhook's receiver did not take the notification. */
export class WebhookRefusedError extends Error {
  readonly code = 'NOTIFY.WEBHOOK_REFUSED';
  override readonly name = 'WebhookRefusedError';
}

/** Posts each notification as JSON; the receiver tells a repetition by the header Idempotency-Key. */
export class WebhookChannel implements NotificationChannel {
  readonly name = 'webhook';

  constructor(private readonly url: string) {}

  async send(message: Message, { idempotencyKey, signal }: { idempotencyKey: string; signal: AbortSignal }): Promise<void> {
    const response = await fetch(this.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey },
      body: JSON.stringify(message),
      redirect: 'error',
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
    });
    await response.body?.cancel();
    if (!response.ok)
      throw new WebhookRefusedError(`the webhook answered ${response.status} to the ${message.kind} of order ${message.orderId}`);
  }
}
