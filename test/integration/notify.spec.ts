import { randomUUID } from 'node:crypto';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { Money } from '../../src/http/money.js';
import { SmtpChannel } from '../../src/modules/notify/channels/smtp.channel.js';
import { WebhookChannel, WebhookRefusedError } from '../../src/modules/notify/channels/webhook.channel.js';
import type { Message, NotificationChannel } from '../../src/modules/notify/notification-channel.js';
import { OrderCancelled, OrderConfirmed } from '../../src/modules/order/order.events.js';
import { stopServers } from '../support/brokers-under-test.js';
import { Shop, type Published, type Subscriber } from '../support/shop.js';

const never = new AbortController().signal;
const message: Message = {
  kind: 'order_confirmed',
  orderId: randomUUID(),
  customerId: randomUUID(),
  subject: 'Your order',
  body: 'It is on its way.',
};

/** A channel that a test lets fail, and that remembers what it was asked to send. */
class Recorder implements NotificationChannel {
  readonly sent: string[] = [];
  failures = 0;

  constructor(readonly name: string) {}

  send({ kind }: Message, { idempotencyKey }: { idempotencyKey: string }): Promise<void> {
    if (this.failures-- > 0) return Promise.reject(new Error(`${this.name} is down`));
    this.sent.push(`${kind} ${idempotencyKey}`);
    return Promise.resolve();
  }
}

describe('notifications', () => {
  const first = new Recorder('first');
  const second = new Recorder('second');
  let shop: Shop;

  beforeAll(async () => {
    shop = await Shop.open({ channels: [first, second] });
  });

  afterAll(async () => {
    await shop.close();
    await stopServers();
  });

  beforeEach(() => {
    for (const channel of [first, second]) {
      channel.sent.length = 0;
      channel.failures = 0;
    }
  });

  const facts = (): { orderId: string; customerId: string; total: Money } => ({
    orderId: randomUUID(),
    customerId: randomUUID(),
    total: Money.of(1290n, 'EUR'),
  });
  const channelsOf = async (orderId: string): Promise<string[]> =>
    (await shop.notifications.list({ orderId, limit: 50 })).items.map(({ kind, channel }) => `${kind} ${channel}`).sort();

  it('go out once per kind and channel', async () => {
    const order = facts();
    await shop.emit(OrderConfirmed.of(order));
    await shop.emit(OrderCancelled.of({ ...order, reason: 'requested' }));
    await shop.settle();
    expect(await channelsOf(order.orderId)).toEqual(
      ['first', 'mailbox', 'second'].flatMap((channel) => [`order_cancelled ${channel}`, `order_confirmed ${channel}`]).sort(),
    );
    expect(first.sent).toHaveLength(2);
    expect(second.sent).toHaveLength(2);
  });

  it('are tried again on the channel that failed, and not sent again on the others', async () => {
    const order = facts();
    second.failures = 3;
    await shop.emit(OrderConfirmed.of(order));
    expect(await shop.settle()).toEqual([]);
    expect(first.sent).toHaveLength(1);
    expect(second.sent).toHaveLength(1);
    expect(await channelsOf(order.orderId)).toEqual(['order_confirmed first', 'order_confirmed mailbox', 'order_confirmed second']);
  });

  it('carry the same idempotency key at every attempt', async () => {
    const order = facts();
    await shop.emit(OrderConfirmed.of(order));
    const [{ envelope }] = (await shop.published()) as [Published];
    const [subscriber] = shop.subscribersOf(envelope).filter(({ group }) => group === 'notify') as [Subscriber];
    await shop.deliver(envelope, subscriber);
    // A crash between the sending and the note of it: the receiver tells by the key.
    await shop.fresh.query('DELETE FROM notification WHERE order_id = $1', [order.orderId]);
    await shop.fresh.query('DELETE FROM inbox');
    await shop.deliver(envelope, subscriber);
    expect(first.sent).toHaveLength(2);
    expect(new Set(first.sent).size).toBe(1);
    expect(first.sent[0]).toBe(`order_confirmed notify:${envelope.id}:first`);
  });

  it('are listed page by page', async () => {
    const order = facts();
    await shop.emit(OrderConfirmed.of(order));
    await shop.settle();
    const page = await shop.notifications.list({ orderId: order.orderId, limit: 2 });
    expect(page.items).toHaveLength(2);
    expect((await shop.notifications.list({ orderId: order.orderId, limit: 2, cursor: page.nextCursor as string })).items).toHaveLength(1);
  });
});

describe('the webhook channel', () => {
  it('posts JSON with the key, and takes every answer but 2xx for a refusal, without its body', async () => {
    const requests: { key: unknown; body: unknown }[] = [];
    let status = 204;
    const server = createHttpServer((request, response) => {
      let text = '';
      request.on('data', (chunk: Buffer) => (text += chunk.toString()));
      request.on('end', () => {
        requests.push({ key: request.headers['idempotency-key'], body: JSON.parse(text) });
        response.writeHead(status, { location: '/elsewhere' }).end(status === 204 ? undefined : 'a secret');
      });
    });
    await listening(server);
    try {
      const channel = new WebhookChannel(`http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?secret=s3cret`);
      await channel.send(message, { idempotencyKey: 'k1', signal: never });
      expect(requests).toEqual([{ key: 'k1', body: message }]);
      for (status of [400, 500]) {
        const refused = channel.send(message, { idempotencyKey: 'k1', signal: never });
        await expect(refused).rejects.toThrow(WebhookRefusedError);
        await expect(refused).rejects.not.toThrow(/s3cret|a secret/);
      }
      status = 302;
      await expect(channel.send(message, { idempotencyKey: 'k1', signal: never })).rejects.toThrow();
      await expect(channel.send(message, { idempotencyKey: 'k1', signal: AbortSignal.abort() })).rejects.toThrow();
      expect(requests).toHaveLength(4);
    } finally {
      server.close();
    }
  });
});

describe('the SMTP channel', () => {
  it('hands the mail over, with a Message-ID that is the same at every attempt', async () => {
    const mails: string[] = [];
    const server = smtpServer((mail) => mails.push(mail));
    await listening(server);
    try {
      const channel = new SmtpChannel(`smtp://127.0.0.1:${(server.address() as AddressInfo).port}`, 'Waybill <shop@example.test>');
      await channel.send(message, { idempotencyKey: 'k1', signal: never });
      await channel.send(message, { idempotencyKey: 'k1', signal: never });
      await channel.send(message, { idempotencyKey: 'k2', signal: never });
      const ids = mails.map((mail) => /^Message-ID: (<[0-9a-f]{40}@example\.test>)/im.exec(mail)?.[1]);
      expect(ids[0]).toBeDefined();
      expect(ids).toEqual([ids[0], ids[0], expect.not.stringMatching(String(ids[0]))]);
      expect(mails[0]).toContain(`To: ${message.customerId}@example.test`);
      expect(mails[0]).toContain('Subject: Your order');
      expect(mails[0]).toContain('It is on its way.');
      await expect(channel.send(message, { idempotencyKey: 'k1', signal: AbortSignal.abort() })).rejects.toThrow();
    } finally {
      server.close();
    }
    const gone = new SmtpChannel(`smtp://user:s3cret@127.0.0.1:9`, 'shop@example.test').send(message, {
      idempotencyKey: 'k1',
      signal: never,
    });
    await expect(gone).rejects.toThrow(/ECONNREFUSED/);
    await expect(gone).rejects.not.toThrow(/s3cret/);
  });
});

async function listening(server: Server): Promise<void> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
}

/** As much of RFC 5321 as it takes to receive a mail. */
function smtpServer(onMail: (mail: string) => void): Server {
  return createServer((socket) => {
    let buffer = '';
    let inData = false;
    const answer = (line: string): void => void socket.write(`${line}\r\n`);
    answer('220 test');
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      buffer += chunk.toString();
      for (;;) {
        const end = buffer.indexOf(inData ? '\r\n.\r\n' : '\r\n');
        if (end < 0) return;
        const text = buffer.slice(0, end);
        buffer = buffer.slice(end + (inData ? 5 : 2));
        if (inData) {
          onMail(text);
          inData = false;
          answer('250 taken');
        } else if (/^DATA/i.test(text)) {
          inData = true;
          answer('354 go on');
        } else if (/^QUIT/i.test(text)) {
          answer('221 bye');
          socket.end();
        } else answer('250 ok');
      }
    });
  });
}
