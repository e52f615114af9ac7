import { Injectable } from '@nestjs/common';
import { BaseRpcContext, Server, type CustomTransportStrategy, type MessageHandler } from '@nestjs/microservices';
import { lastValueFrom } from 'rxjs';
import type { ConsumeContext } from '../consumer/event-consumer.js';
import { ConsumerRegistry, ConsumerSetupError } from '../consumer/consumer-registry.js';
import { definitionOf, eventClassOf } from '../event/event-definition.js';
import type { EventEnvelope } from '../event/event-envelope.js';

/** What an @EventPattern handler gets beside the data: `@Ctx() context: WaybillContext`. */
export class WaybillContext extends BaseRpcContext<[EventEnvelope, ConsumeContext]> {
  getEvent(): EventEnvelope {
    return this.args[0];
  }

  /** Attempt, signal, idempotency key, and `once`. */
  getConsumeContext(): ConsumeContext {
    return this.args[1];
  }
}

/**
 * Serves Nest's own handlers with the same guarantees as consumer classes:
 * `@EventPattern('commerce.order.placed', { group: 'audit' })` in a controller.
 */
@Injectable()
export class WaybillTransport extends Server implements CustomTransportStrategy {
  override readonly transportId = Symbol('waybill');
  override readonly propagatesEventHandlerErrors = true;

  constructor(private readonly registry: ConsumerRegistry) {
    super();
  }

  /** @throws ConsumerSetupError when a handler names no group, an unknown type, or asks for an answer */
  listen(callback: (error?: unknown) => void): void {
    try {
      for (const [pattern, handler] of this.messageHandlers) this.register(pattern, handler);
    } catch (error) {
      callback(error);
      return;
    }
    callback();
  }

  /** The subscriptions belong to messaging and end with it. */
  close(): void {}

  on(): never {
    throw new ConsumerSetupError('this transport has no events of its own; see GET /ops/groups for its state');
  }

  unwrap<T>(): T {
    return this.registry as T;
  }

  private register(pattern: string, handler: MessageHandler): void {
    const name = `@EventPattern('${pattern}')`;
    if (handler.isEventHandler !== true) {
      throw new ConsumerSetupError(
        `@MessagePattern('${pattern}') asks for an answer; events have none. Use @EventPattern, or a call inside the process.`,
      );
    }
    const eventClass = eventClassOf(pattern);
    if (!eventClass) throw new ConsumerSetupError(`${name}: no class has @DefineEvent with this type`);
    for (const serve of separated(handler)) {
      const group: unknown = serve.extras?.['group'];
      if (typeof group !== 'string')
        throw new ConsumerSetupError(`${name} needs its consumer group: @EventPattern('${pattern}', { group: 'audit' })`);
      this.registry.add({
        name,
        group,
        topic: definitionOf(eventClass).topic,
        type: pattern,
        order: serve.extras?.['order'] === 'none' ? 'none' : 'key',
        timeoutMs: undefined,
        handle: async (event, context) => {
          await lastValueFrom(this.transformToObservable(await serve(event.data, new WaybillContext([event, context]))), {
            defaultValue: undefined,
          });
        },
      });
    }
  }
}

/** The handlers of one pattern. Nest links them, and each would call those behind it too; here each group is served by itself. */
function separated(first: MessageHandler): MessageHandler[] {
  const handlers: MessageHandler[] = [];
  for (let handler: MessageHandler | undefined = first; handler;) {
    handlers.push(handler);
    const next: MessageHandler | undefined = handler.next as MessageHandler | undefined;
    delete handler.next;
    handler = next;
  }
  return handlers;
}
