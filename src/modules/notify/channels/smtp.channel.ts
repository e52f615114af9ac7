import { createHash } from 'node:crypto';
import { createTransport, type Transporter } from 'nodemailer';
import type { Message, NotificationChannel } from '../notification-channel.js';

const ANSWER_MS = 10_000;

/** Sends mail. There is no address book here: the address is made of the customer's id, at the sender's domain. */
export class SmtpChannel implements NotificationChannel {
  readonly name = 'smtp';
  private readonly transport: Transporter;
  private readonly domain: string;

  constructor(
    url: string,
    private readonly from: string,
  ) {
    this.transport = createTransport({ url, connectionTimeout: ANSWER_MS, greetingTimeout: ANSWER_MS, socketTimeout: ANSWER_MS });
    this.domain = /@([^>\s]+)>?$/.exec(from)?.[1] ?? 'localhost';
  }

  async send(message: Message, { idempotencyKey, signal }: { idempotencyKey: string; signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    await this.transport.sendMail({
      from: this.from,
      to: this.addressOf(message),
      subject: message.subject,
      text: message.body,
      // The same at every attempt: a mailbox shows what was sent twice once.
      messageId: `<${createHash('sha256').update(idempotencyKey).digest('hex').slice(0, 40)}@${this.domain}>`,
    });
  }

  private addressOf({ customerId }: Message): string {
    return `${customerId}@${this.domain}`;
  }
}
