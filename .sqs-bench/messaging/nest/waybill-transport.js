function _ts_decorate(decorators, target, key, desc) {
  var c = arguments.length,
    r = c < 3 ? target : desc === null ? (desc = Object.getOwnPropertyDescriptor(target, key)) : desc,
    d;
  if (typeof Reflect === 'object' && typeof Reflect.decorate === 'function') {
    r = Reflect.decorate(decorators, target, key, desc);
  } else {
    for (var i = decorators.length - 1; i >= 0; i--) {
      if ((d = decorators[i])) {
        r = (c < 3 ? d(r) : c > 3 ? d(target, key, r) : d(target, key)) || r;
      }
    }
  }
  return (c > 3 && r && Object.defineProperty(target, key, r), r);
}
function _ts_metadata(metadataKey, metadataValue) {
  if (typeof Reflect === 'object' && typeof Reflect.metadata === 'function') {
    return Reflect.metadata(metadataKey, metadataValue);
  }
}
import { Injectable } from '@nestjs/common';
import { BaseRpcContext, Server } from '@nestjs/microservices';
import { lastValueFrom } from 'rxjs';
import { ConsumerRegistry, ConsumerSetupError } from '../consumer/consumer-registry.js';
import { definitionOf, eventClassOf } from '../event/event-definition.js';
/** What an @EventPattern handler gets beside the data: `@Ctx() context: WaybillContext`. */ export class WaybillContext extends BaseRpcContext {
  getEvent() {
    return this.args[0];
  }
  /** Attempt, signal, idempotency key, and `once`. */ getConsumeContext() {
    return this.args[1];
  }
}
export class WaybillTransport extends Server {
  registry;
  transportId = Symbol('waybill');
  propagatesEventHandlerErrors = true;
  constructor(registry) {
    (super(), (this.registry = registry));
  }
  /** @throws ConsumerSetupError when a handler names no group, an unknown type, or asks for an answer */ listen(callback) {
    try {
      for (const [pattern, handler] of this.messageHandlers) this.register(pattern, handler);
    } catch (error) {
      callback(error);
      return;
    }
    callback();
  }
  /** The subscriptions belong to messaging and end with it. */ close() {}
  on() {
    throw new ConsumerSetupError('this transport has no events of its own; see GET /ops/groups for its state');
  }
  unwrap() {
    return this.registry;
  }
  register(pattern, handler) {
    const name = `@EventPattern('${pattern}')`;
    if (handler.isEventHandler !== true) {
      throw new ConsumerSetupError(
        `@MessagePattern('${pattern}') asks for an answer; events have none. Use @EventPattern, or a call inside the process.`,
      );
    }
    const eventClass = eventClassOf(pattern);
    if (!eventClass) throw new ConsumerSetupError(`${name}: no class has @DefineEvent with this type`);
    for (let next = handler; next; next = next.next) {
      const group = next.extras?.['group'];
      if (typeof group !== 'string')
        throw new ConsumerSetupError(`${name} needs its consumer group: @EventPattern('${pattern}', { group: 'audit' })`);
      const serve = next;
      this.registry.add({
        name,
        group,
        topic: definitionOf(eventClass).topic,
        type: pattern,
        order: next.extras?.['order'] === 'none' ? 'none' : 'key',
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
WaybillTransport = _ts_decorate(
  [
    Injectable(),
    _ts_metadata('design:type', Function),
    _ts_metadata('design:paramtypes', [typeof ConsumerRegistry === 'undefined' ? Object : ConsumerRegistry]),
  ],
  WaybillTransport,
);

//# sourceMappingURL=waybill-transport.js.map
