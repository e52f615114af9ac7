import { Injectable } from '@nestjs/common';
import { DatabasePool } from '../database/database-pool.js';
import { Consumers } from './consumer/consumers.js';
import { ConsumerRegistry } from './consumer/consumer-registry.js';
import { MessagingSettings } from './messaging-settings.js';
import { topologyOf } from './messaging-topology.js';
import { Relay } from './outbox/relay.js';
import { BrokerConnection } from './transport/broker-connection.js';
import { DeclaredSubscriptions } from './transport/declared-subscriptions.js';

/** What was fixed at the first boot differs from the configuration. */
export class FixedSettingError extends Error {
  readonly code = 'MESSAGING.FIXED_SETTING';
  override readonly name = 'FixedSettingError';
}

/** Starts and stops messaging, in the one order that loses nothing. */
@Injectable()
export class MessagingLifecycle {
  constructor(
    private readonly settings: MessagingSettings,
    private readonly database: DatabasePool,
    private readonly registry: ConsumerRegistry,
    private readonly broker: BrokerConnection,
    private readonly relay: Relay,
    private readonly consumers: Consumers,
    private readonly declared: DeclaredSubscriptions,
  ) {}

  /**
   * What needs the database comes first: where that is away, `start` rejects and can be called again.
   * @throws ConsumerSetupError, FixedSettingError, TopologyMismatchError: the set-up is wrong and a person must mend it
   */
  async start(): Promise<void> {
    const { roles } = this.settings.config;
    const topology = topologyOf(this.registry.subscriptions());
    await this.fixLanes();
    await this.declared.declare(topology.subscriptions);
    if (roles.has('consumers')) await this.consumers.prepare();
    await this.broker.start(topology);
    if (roles.has('relay')) this.relay.start([...topology.topics, ...topology.deadLetterTopics]);
    if (roles.has('consumers')) this.consumers.start();
  }

  /** Consumers first, because what they end may still emit; then the relay; then the broker. True when no work had to be left to a lease. */
  async stop(deadlineMs: number): Promise<boolean> {
    const complete = await this.consumers.stop(deadlineMs);
    await this.relay.stop();
    await this.broker.stop();
    return complete;
  }

  /** Rows lie in lanes by hash: with another number of lanes a key's later events could overtake its earlier ones. */
  private async fixLanes(): Promise<void> {
    const wanted = String(this.settings.lanes);
    const [row] = await this.database.query<{ value: string }>(
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
