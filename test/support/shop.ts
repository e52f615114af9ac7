import pino from 'pino';
import { Database } from '../../src/database/database.js';
import { DatabasePool } from '../../src/database/database-pool.js';
import { Outbox, type BatchEventHandler, type ConsumeContext, type EventHandler } from '../../src/messaging/index.js';
import { attemptEvents, type AttemptOutcome } from '../../src/messaging/consumer/attempt.js';
import { batchHandler } from '../../src/messaging/consumer/consumer-registry.js';
import { singleOnce } from '../../src/messaging/consumer/once.js';
import { Inbox } from '../../src/messaging/consumer/inbox.js';
import { decode } from '../../src/messaging/event/event-codec.js';
import { definitionOf, type EventClass } from '../../src/messaging/event/event-definition.js';
import type { EventEnvelope } from '../../src/messaging/event/event-envelope.js';
import { CommitStockWhenOrderConfirmed } from '../../src/modules/inventory/consumers/commit-stock-when-order-confirmed.consumer.js';
import { ReleaseStockWhenOrderCancelled } from '../../src/modules/inventory/consumers/release-stock-when-order-cancelled.consumer.js';
import { ReserveStockWhenOrderPlaced } from '../../src/modules/inventory/consumers/reserve-stock-when-order-placed.consumer.js';
import { StockRejected, StockReserved } from '../../src/modules/inventory/inventory.events.js';
import { InventoryService } from '../../src/modules/inventory/inventory.service.js';
import { NotifyCustomerWhenOrderCancelled } from '../../src/modules/notify/consumers/notify-customer-when-order-cancelled.consumer.js';
import { NotifyCustomerWhenOrderConfirmed } from '../../src/modules/notify/consumers/notify-customer-when-order-confirmed.consumer.js';
import type { NotificationChannel } from '../../src/modules/notify/notification-channel.js';
import { NotifyService } from '../../src/modules/notify/notify.service.js';
import { Catalogue } from '../../src/modules/order/catalogue.js';
import { CancelOrderWhenPaymentDeclined } from '../../src/modules/order/consumers/cancel-order-when-payment-declined.consumer.js';
import { CancelOrderWhenStockRejected } from '../../src/modules/order/consumers/cancel-order-when-stock-rejected.consumer.js';
import { ConfirmOrderWhenPaymentCaptured } from '../../src/modules/order/consumers/confirm-order-when-payment-captured.consumer.js';
import { IdempotencyKeys } from '../../src/modules/order/idempotency-keys.js';
import { OrderCancelled, OrderConfirmed, OrderPlaced } from '../../src/modules/order/order.events.js';
import { OrderService } from '../../src/modules/order/order.service.js';
import { CapturePaymentWhenStockReserved } from '../../src/modules/payment/consumers/capture-payment-when-stock-reserved.consumer.js';
import { RefundPaymentWhenOrderCancelled } from '../../src/modules/payment/consumers/refund-payment-when-order-cancelled.consumer.js';
import type { PaymentGateway } from '../../src/modules/payment/payment-gateway.js';
import { PaymentCaptured, PaymentDeclined } from '../../src/modules/payment/payment.events.js';
import { PaymentService } from '../../src/modules/payment/payment.service.js';
import { SandboxGateway } from '../../src/modules/payment/sandbox/sandbox-gateway.js';
import { freshDatabase, type FreshDatabase } from './fresh-database.js';

const HANDLER_TIMEOUT_MS = 20_000;

/** A consumer of the shop, by the group it belongs to. */
export interface Subscriber {
  readonly group: string;
  readonly event: EventClass;
  readonly consumer: EventHandler<never> | BatchEventHandler<never>;
}

export interface ShopOptions {
  readonly gateway?: (sandbox: SandboxGateway, database: Database) => PaymentGateway;
  readonly channels?: readonly NotificationChannel[];
}

/** An event that was committed, taken from the outbox as a relay would take it. */
export interface Published {
  readonly id: bigint;
  readonly envelope: EventEnvelope;
}

/**
 * The shop's four modules on a database of their own, with the real outbox and inbox and no broker in between: the
 * test decides which event is delivered to whom, when, and how often.
 */
export class Shop {
  readonly orders: OrderService;
  readonly inventory: InventoryService;
  readonly payments: PaymentService;
  readonly notifications: NotifyService;
  readonly sandbox: SandboxGateway;
  readonly outbox: Outbox;
  readonly inbox: Inbox;
  readonly subscribers: readonly Subscriber[];

  private constructor(
    readonly fresh: FreshDatabase,
    readonly database: Database,
    private readonly pool: DatabasePool,
    { gateway, channels }: ShopOptions,
  ) {
    const settings = { lanes: 16, source: 'urn:test:shop', brokerName: 'none' };
    this.outbox = new Outbox(database, { notify: () => undefined } as never, settings as never, { maxMessageBytes: 1_000_000 } as never);
    this.inbox = new Inbox(database, pool);
    this.sandbox = new SandboxGateway(database);
    this.orders = new OrderService(database, this.outbox, new IdempotencyKeys(database, silent), new Catalogue(database), {
      orders: { groupCommit: true },
    } as never);
    this.inventory = new InventoryService(database, this.outbox);
    this.payments = new PaymentService(database, this.outbox, gateway?.(this.sandbox, database) ?? this.sandbox);
    this.notifications = new NotifyService(database, channels ?? []);
    this.subscribers = [
      { group: 'inventory', event: OrderPlaced, consumer: new ReserveStockWhenOrderPlaced(this.inventory) },
      { group: 'inventory', event: OrderConfirmed, consumer: new CommitStockWhenOrderConfirmed(this.inventory) },
      { group: 'inventory', event: OrderCancelled, consumer: new ReleaseStockWhenOrderCancelled(this.inventory) },
      { group: 'payment', event: StockReserved, consumer: new CapturePaymentWhenStockReserved(this.payments) },
      { group: 'payment', event: OrderCancelled, consumer: new RefundPaymentWhenOrderCancelled(this.payments) },
      { group: 'order', event: StockRejected, consumer: new CancelOrderWhenStockRejected(this.orders) },
      { group: 'order', event: PaymentCaptured, consumer: new ConfirmOrderWhenPaymentCaptured(this.orders) },
      { group: 'order', event: PaymentDeclined, consumer: new CancelOrderWhenPaymentDeclined(this.orders) },
      { group: 'notify', event: OrderConfirmed, consumer: new NotifyCustomerWhenOrderConfirmed(this.notifications) },
      { group: 'notify', event: OrderCancelled, consumer: new NotifyCustomerWhenOrderCancelled(this.notifications) },
    ];
  }

  static async open(options: ShopOptions = {}): Promise<Shop> {
    const fresh = await freshDatabase();
    const config = { database: { poolSize: 20, transactionTimeoutMs: 15_000, preparedStatements: true } };
    const database = new Database(config as never, fresh.url, silent);
    return new Shop(fresh, database, new DatabasePool(fresh.url, silent), options);
  }

  async close(): Promise<void> {
    await this.database.onModuleDestroy();
    await this.pool.onModuleDestroy();
    await this.fresh.drop();
  }

  /** Puts an item for 12.90 EUR apiece into the catalogue. */
  async stock(sku: string, onHand: number, price = { amount: 1290, currency: 'EUR' }): Promise<void> {
    await this.inventory.put(sku, { name: `some ${sku}`, price, onHand });
  }

  /** Commits an event as a business transaction would. */
  async emit(event: object): Promise<void> {
    await this.database.transaction((tx) => Promise.resolve(this.outbox.emit(tx, event)));
  }

  /** Takes everything that is in the outbox, in the order in which it was written. */
  async published(): Promise<Published[]> {
    const rows = await this.fresh.query<{ id: string; headers: string; payload: string }>(
      'DELETE FROM outbox RETURNING id, headers, payload',
    );
    return rows
      .map(({ id, headers, payload }) => ({
        id: BigInt(id),
        envelope: decode({ headers: JSON.parse(headers) as Record<string, string>, payload: Buffer.from(payload) }),
      }))
      .sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  subscribersOf(envelope: EventEnvelope): Subscriber[] {
    return this.subscribers.filter(({ event }) => definitionOf(event).type === envelope.type);
  }

  /** One attempt of one subscriber at one event, as the runner makes it. */
  async deliver(envelope: EventEnvelope, subscriber: Subscriber, timeoutMs?: number): Promise<AttemptOutcome> {
    if (await this.inbox.has(subscriber.group, envelope.id)) return { kind: 'duplicate' };
    return this.attempt([envelope], subscriber, timeoutMs);
  }

  /** One attempt of one subscriber at events of one type: at several together, if it takes batches. */
  attempt(
    events: readonly [EventEnvelope, ...EventEnvelope[]],
    { group, consumer }: Subscriber,
    timeoutMs = HANDLER_TIMEOUT_MS,
  ): Promise<AttemptOutcome> {
    const handler = {
      name: consumer.constructor.name,
      group,
      topic: '',
      type: events[0].type,
      order: 'key',
      timeoutMs,
      ...('handleBatch' in consumer
        ? batchHandler((batch, context) => consumer.handleBatch(batch as never, context))
        : { handle: (event: EventEnvelope, context: ConsumeContext) => consumer.handleMessage(event as never, context) }),
    } as const;
    const { database, inbox } = this;
    return attemptEvents(
      { group, handler, events, attempt: 1, timeoutMs, signal: new AbortController().signal },
      { database, inbox, onceIn: singleOnce(database, inbox, group) },
    );
  }

  /** Delivers everything to everybody, with up to so many attempts, until nothing is left; answers what failed for good. */
  async settle(attempts = 5): Promise<{ envelope: EventEnvelope; subscriber: Subscriber; error: unknown }[]> {
    const failed: { envelope: EventEnvelope; subscriber: Subscriber; error: unknown }[] = [];
    for (let events = await this.published(); events.length > 0; events = await this.published()) {
      for (const { envelope } of events) {
        for (const subscriber of this.subscribersOf(envelope)) {
          let outcome = await this.deliver(envelope, subscriber);
          for (let attempt = 2; outcome.kind === 'failed' && attempt <= attempts; attempt++)
            outcome = await this.deliver(envelope, subscriber);
          if (outcome.kind === 'failed') failed.push({ envelope, subscriber, error: outcome.error });
        }
      }
    }
    return failed;
  }
}

const silent = pino({ level: 'silent' });
