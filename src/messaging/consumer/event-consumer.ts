import type { Transaction } from '../../database/database.js';
import { DiscoveryService } from '@nestjs/core';
import type { EventClass } from '../event/event-definition.js';
import type { EventEnvelope } from '../event/event-envelope.js';

/** A class with these three methods, listed as a provider of any module, is a consumer; nothing else is to be registered. */
export interface IEventConsumer<E = unknown> {
  getTopic(): string;
  getGroupId(): string;
  /**
   * Handles one event. Throwing means "try again", a NonRetryableError "give it to a person"; a refusal that
   * the business expects is no error but an event. May run again for the same event (crash, time-out).
   */
  handleMessage(event: EventEnvelope<E>, context: ConsumeContext): Promise<void>;
}

/** What stands in for the first two methods when the class has @EventConsumer. */
export interface EventHandler<E = unknown> {
  handleMessage(event: EventEnvelope<E>, context: ConsumeContext): Promise<void>;
}

/** For many events at once, opt-in: one transaction and one mark for all of them. */
export interface BatchEventHandler<E = unknown> {
  /**
   * Handles events of one type, those of a key in their order. All are handled or, when it throws, none: then each
   * is given to this method by itself, and only what fails alone is tried again, parked, or a dead letter.
   */
  handleBatch(events: readonly EventEnvelope<E>[], context: BatchContext): Promise<void>;
}

export interface BatchContext {
  readonly group: string;
  /** More than 1 only for an event by itself. */
  readonly attempt: number;
  /** Aborted on the handler's time-out, on shutdown, and when one of the deliveries is lost. */
  readonly signal: AbortSignal;
  /** The same at every attempt of this event in this group. */
  idempotencyKeyOf(event: EventEnvelope): string;
  /** Events emitted inside go back to this event. Without it, they begin a chain of their own. */
  causedBy<T>(event: EventEnvelope, work: () => T): T;
  /** As in ConsumeContext, for all of the events. */
  once<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
}

export interface ConsumeContext {
  readonly group: string;
  /** 1 for the first; an attempt that a shutdown or an outage cut short is not counted. */
  readonly attempt: number;
  /** Aborted on the handler's time-out, on shutdown, and when the delivery is lost. Hand it to every call outside. */
  readonly signal: AbortSignal;
  /** The same at every attempt of this event in this group; give it (with a suffix) to whatever is called outside. */
  readonly idempotencyKey: string;
  /**
   * Commits the consumer's rows, the mark that the group has handled the event, and the events emitted inside,
   * together and once. Call nothing outside in it; at most one call per handling. Where another instance was first, the
   * work's first statement fails, and nothing is committed.
   * @throws AlreadyHandledError when another instance was first, HandlerAbortedError after the time-out; let both pass
   */
  once<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
}

export interface EventConsumerOptions {
  /** The event class; its type is what the class is given, its topic what it subscribes to. */
  event: EventClass;
  /** Consumers of one group share one subscription. WARNING: a renamed group starts anew, at the oldest event. */
  group: string;
  /** `none`: an event that fails holds up nothing, also not later events of its key. Default `key`. */
  order?: 'key' | 'none';
  /** Default HANDLER_TIMEOUT_MS. */
  timeoutMs?: number;
  /**
   * `grouped`: what handlers of different keys do in `once` at the same time is committed together; where each asks one
   * statement, by `$executeRaw` or `$queryRaw`, these share a round trip too. Its price is that rows stay locked until
   * the group is done. Default `single`.
   */
  commit?: 'single' | 'grouped';
}

/** Marks a provider as the handler of one event type in one group: `@EventConsumer({ event: OrderPlaced, group: 'inventory' })`. */
export const EventConsumer = DiscoveryService.createDecorator<EventConsumerOptions>();

/** Throw it when trying again cannot help: the event goes to the dead letters now. */
export class NonRetryableError extends Error {
  readonly code = 'CONSUMER.NON_RETRYABLE';
  override readonly name: string = 'NonRetryableError';
}
