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
import { DiscoveryService } from '@nestjs/core';
import { definitionOf } from '../event/event-definition.js';
import { EventConsumer } from './event-consumer.js';
const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;
/** Wrong use of consumers, found at boot. */ export class ConsumerSetupError extends Error {
  code = 'CONSUMER.SETUP';
  name = 'ConsumerSetupError';
}
export class ConsumerRegistry {
  discovery;
  added = [];
  groups;
  constructor(discovery) {
    this.discovery = discovery;
  }
  /** For handlers that are no provider classes, such as @EventPattern methods. Before the first call of `subscriptions`. */ add(handler) {
    if (this.groups) throw new ConsumerSetupError(`${handler.name} was added after the subscriptions were made`);
    this.added.push(handler);
  }
  /** @throws ConsumerSetupError when two classes of a group claim one type, or a name is malformed */ subscriptions() {
    this.groups ??= group([...this.discover(), ...this.added]);
    return this.groups;
  }
  discover() {
    const handlers = [];
    for (const { instance, metatype } of this.discovery.getProviders()) {
      if (typeof instance !== 'object' || instance === null || typeof metatype !== 'function') continue;
      const options = Reflect.getMetadata(EventConsumer.KEY, instance.constructor);
      const candidate = instance;
      if (options) {
        if (typeof candidate.handleMessage !== 'function')
          throw new ConsumerSetupError(`${metatype.name} has @EventConsumer but no handleMessage(event, context)`);
        const { topic, type } = definitionOf(options.event);
        handlers.push({
          name: metatype.name,
          group: options.group,
          topic,
          type,
          order: options.order ?? 'key',
          timeoutMs: options.timeoutMs,
          handle: (event, context) => instance.handleMessage(event, context),
        });
      } else if (
        typeof candidate.getTopic === 'function' &&
        typeof candidate.getGroupId === 'function' &&
        typeof candidate.handleMessage === 'function'
      ) {
        const consumer = instance;
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
ConsumerRegistry = _ts_decorate(
  [
    Injectable(),
    _ts_metadata('design:type', Function),
    _ts_metadata('design:paramtypes', [typeof DiscoveryService === 'undefined' ? Object : DiscoveryService]),
  ],
  ConsumerRegistry,
);
function group(handlers) {
  const bySubscription = new Map();
  for (const handler of handlers) {
    if (!NAME.test(handler.group) || !NAME.test(handler.topic)) {
      throw new ConsumerSetupError(
        `${handler.name}: group "${handler.group}" and topic "${handler.topic}" must be lower-case letters, digits, dots, dashes and underscores, at most 64`,
      );
    }
    const id = `${handler.group} ${handler.topic}`;
    const entry = bySubscription.get(id) ?? {
      group: handler.group,
      topic: handler.topic,
      byType: new Map(),
    };
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
  }));
}

//# sourceMappingURL=consumer-registry.js.map
