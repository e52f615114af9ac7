import { Injectable, type Type } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import { definitionOf } from '../event/event-definition.js';
import type { EventEnvelope } from '../event/event-envelope.js';
import type { Subscription } from '../transport/broker-adapter.js';
import {
  EventConsumer,
  type BatchContext,
  type BatchEventHandler,
  type ConsumeContext,
  type EventHandler,
  type IEventConsumer,
} from './event-consumer.js';

/** A consumer class as the runner sees it. */
export interface Handler {
  readonly name: string;
  readonly group: string;
  readonly topic: string;
  /** undefined: every type of the topic that no other class of the group takes. */
  readonly type: string | undefined;
  readonly order: 'key' | 'none';
  readonly timeoutMs: number | undefined;
  /** Default `single`. */
  readonly commit?: 'single' | 'grouped' | undefined;
  readonly handle: (event: EventEnvelope, context: ConsumeContext) => Promise<void>;
  /** Where it exists, `handle` is this one with a single event. */
  readonly handleBatch?: BatchHandle | undefined;
}

export type BatchHandle = (events: readonly EventEnvelope[], context: BatchContext) => Promise<void>;

/** The consumers of one group on one topic: one subscription, dispatched by type. */
export interface ConsumerGroup extends Subscription {
  handlerOf(type: string): Handler | undefined;
  /** Whether one of its handlers takes many events at once. */
  readonly takesBatches: boolean;
}

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;

/** Wrong use of consumers, found at boot. */
export class ConsumerSetupError extends Error {
  readonly code = 'CONSUMER.SETUP';
  override readonly name = 'ConsumerSetupError';
}

/** Finds every provider that is a consumer. */
@Injectable()
export class ConsumerRegistry {
  private readonly added: Handler[] = [];
  private groups: ConsumerGroup[] | undefined;

  constructor(private readonly discovery: DiscoveryService) {}

  /** For handlers that are no provider classes, such as @EventPattern methods. Before the first call of `subscriptions`. */
  add(handler: Handler): void {
    if (this.groups) throw new ConsumerSetupError(`${handler.name} was added after the subscriptions were made`);
    this.added.push(handler);
  }

  /** @throws ConsumerSetupError when two classes of a group claim one type, or a name is malformed */
  subscriptions(): readonly ConsumerGroup[] {
    this.groups ??= group([...this.discover(), ...this.added]);
    return this.groups;
  }

  private discover(): Handler[] {
    const handlers: Handler[] = [];
    for (const { instance, metatype } of this.discovery.getProviders() as { instance: unknown; metatype: Type | null }[]) {
      if (typeof instance !== 'object' || instance === null || typeof metatype !== 'function') continue;
      const options = Reflect.getMetadata(EventConsumer.KEY, instance.constructor) as Parameters<typeof EventConsumer>[0];
      const candidate = instance as Partial<IEventConsumer>;
      if (options) {
        const { handleBatch } = instance as Partial<BatchEventHandler>;
        if ((typeof candidate.handleMessage === 'function') === (typeof handleBatch === 'function'))
          throw new ConsumerSetupError(
            `${metatype.name} has @EventConsumer and must have one of handleMessage(event, context) and handleBatch(events, context)`,
          );
        const { topic, type } = definitionOf(options.event);
        handlers.push({
          name: metatype.name,
          group: options.group,
          topic,
          type,
          order: options.order ?? 'key',
          timeoutMs: options.timeoutMs,
          commit: options.commit,
          ...(typeof handleBatch === 'function'
            ? batchHandler((events, context) => (instance as BatchEventHandler).handleBatch(events, context))
            : { handle: (event: EventEnvelope, context: ConsumeContext) => (instance as EventHandler).handleMessage(event, context) }),
        });
      } else if (
        typeof candidate.getTopic === 'function' &&
        typeof candidate.getGroupId === 'function' &&
        typeof candidate.handleMessage === 'function'
      ) {
        const consumer = instance as IEventConsumer;
        handlers.push({
          name: metatype.name,
          group: consumer.getGroupId(),
          topic: consumer.getTopic(),
          type: undefined,
          order: 'key',
          timeoutMs: undefined,
          handle: (event, context) => consumer.handleMessage(event, context),
        });
      }
    }
    return handlers;
  }
}

/** The two ways in of a handler that takes many events: by itself, an event is a batch of one. */
export function batchHandler(handleBatch: BatchHandle): Pick<Handler, 'handle' | 'handleBatch'> {
  return {
    handleBatch,
    handle: (event, { idempotencyKey, ...context }) =>
      handleBatch([event], { ...context, idempotencyKeyOf: () => idempotencyKey, causedBy: (_, work) => work() }),
  };
}

function group(handlers: readonly Handler[]): ConsumerGroup[] {
  const bySubscription = new Map<string, { group: string; topic: string; byType: Map<string | undefined, Handler> }>();
  for (const handler of handlers) {
    if (!NAME.test(handler.group) || !NAME.test(handler.topic)) {
      throw new ConsumerSetupError(
        `${handler.name}: group "${handler.group}" and topic "${handler.topic}" must be lower-case letters, digits, dots, dashes and underscores, at most 64`,
      );
    }
    const id = `${handler.group} ${handler.topic}`;
    const entry = bySubscription.get(id) ?? { group: handler.group, topic: handler.topic, byType: new Map<string | undefined, Handler>() };
    const other = entry.byType.get(handler.type);
    if (other) {
      throw new ConsumerSetupError(
        handler.type === undefined
          ? `${other.name} and ${handler.name} both take every event of ${handler.topic} in group ${handler.group}: give them @EventConsumer({ event, group }) or different groups`
          : `${other.name} and ${handler.name} both take ${handler.type} in group ${handler.group}: an event has one handler a group; use different groups`,
      );
    }
    entry.byType.set(handler.type, handler);
    bySubscription.set(id, entry);
  }
  return [...bySubscription.values()].map(({ group: name, topic, byType }) => ({
    group: name,
    topic,
    handlerOf: (type) => byType.get(type) ?? byType.get(undefined),
    takesBatches: [...byType.values()].some(({ handleBatch }) => handleBatch !== undefined),
  }));
}
