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
import { DatabasePool } from '../database/database-pool.js';
import { Consumers } from './consumer/consumers.js';
import { ConsumerRegistry } from './consumer/consumer-registry.js';
import { MessagingSettings } from './messaging-settings.js';
import { topologyOf } from './messaging-topology.js';
import { Relay } from './outbox/relay.js';
import { BrokerConnection } from './transport/broker-connection.js';
/** What was fixed at the first boot differs from the configuration. */ export class FixedSettingError extends Error {
  code = 'MESSAGING.FIXED_SETTING';
  name = 'FixedSettingError';
}
export class MessagingLifecycle {
  settings;
  database;
  registry;
  broker;
  relay;
  consumers;
  constructor(settings, database, registry, broker, relay, consumers) {
    this.settings = settings;
    this.database = database;
    this.registry = registry;
    this.broker = broker;
    this.relay = relay;
    this.consumers = consumers;
  }
  /** @throws ConsumerSetupError, FixedSettingError, TopologyMismatchError: the set-up is wrong and a person must mend it */ async start() {
    const { roles } = this.settings.config;
    const topology = topologyOf(this.registry.subscriptions());
    await this.fixLanes();
    await this.broker.start(topology);
    if (roles.has('relay')) this.relay.start([...topology.topics, ...topology.deadLetterTopics]);
    if (roles.has('consumers')) await this.consumers.start();
  }
  /** Consumers first, because what they end may still emit; then the relay; then the broker. True when no work had to be left to a lease. */ async stop(
    deadlineMs,
  ) {
    const complete = await this.consumers.stop(deadlineMs);
    await this.relay.stop();
    await this.broker.stop();
    return complete;
  }
  /** Rows lie in lanes by hash: with another number of lanes a key's later events could overtake its earlier ones. */ async fixLanes() {
    const wanted = String(this.settings.lanes);
    const [row] = await this.database.query(
      `WITH made AS (INSERT INTO messaging_fact (name, value) VALUES ('lanes', $1) ON CONFLICT DO NOTHING RETURNING value)
       SELECT value FROM made UNION ALL SELECT value FROM messaging_fact WHERE name = 'lanes'`,
      [wanted],
    );
    if (row && row.value !== wanted) {
      throw new FixedSettingError(
        `OUTBOX_LANES is ${wanted}, but this database was begun with ${row.value}. Set OUTBOX_LANES=${row.value}; with another number events of a key could change places.`,
      );
    }
  }
}
MessagingLifecycle = _ts_decorate(
  [
    Injectable(),
    _ts_metadata('design:type', Function),
    _ts_metadata('design:paramtypes', [
      typeof MessagingSettings === 'undefined' ? Object : MessagingSettings,
      typeof DatabasePool === 'undefined' ? Object : DatabasePool,
      typeof ConsumerRegistry === 'undefined' ? Object : ConsumerRegistry,
      typeof BrokerConnection === 'undefined' ? Object : BrokerConnection,
      typeof Relay === 'undefined' ? Object : Relay,
      typeof Consumers === 'undefined' ? Object : Consumers,
    ]),
  ],
  MessagingLifecycle,
);

//# sourceMappingURL=messaging-lifecycle.js.map
