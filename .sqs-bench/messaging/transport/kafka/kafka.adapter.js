import { KafkaAdmin } from './kafka.admin.js';
import { KafkaNames } from './kafka.names.js';
import { KafkaPublisher } from './kafka.publisher.js';
import { MAX_MESSAGE_BYTES } from './kafka.settings.js';
import { KafkaSubscription } from './kafka.subscription.js';
import { KafkaTopology } from './kafka.topology.js';
const CHECK_TIMEOUT_MS = 4_800;
const LAG_TIMEOUT_MS = 5_000;
/** Topics are topics, and a group's subscription to one of them is a consumer group of its own. */ export class KafkaAdapter {
  settings;
  maxMessageBytes = MAX_MESSAGE_BYTES;
  names;
  admin;
  topology;
  publisher;
  constructor(settings) {
    this.settings = settings;
    this.names = new KafkaNames(settings.namespace);
    this.admin = new KafkaAdmin(settings);
    this.topology = new KafkaTopology(this.admin, this.names, settings);
    this.publisher = new KafkaPublisher(settings, this.names);
  }
  async open(topology) {
    this.publisher.partitions = await this.topology.open(topology);
  }
  publish(messages) {
    return this.publisher.publish(messages);
  }
  async subscribe(subscription, deliver, options) {
    const active = new KafkaSubscription(subscription, deliver, options, this.names, this.settings);
    await active.start();
    return active;
  }
  /** Asks for our topics, not for all that the cluster has: one of them without a leader is trouble too. */ async check() {
    const topics = [...this.publisher.partitions.keys()];
    await this.admin.ask('Kafka is not usable', CHECK_TIMEOUT_MS, async (admin) => {
      if (topics.length > 0)
        await admin.fetchTopicMetadata({
          topics,
        });
      else await admin.describeCluster();
    });
  }
  async lag(subscription) {
    const topic = this.names.topic(subscription.topic);
    const groupId = this.names.group(subscription);
    const what = `the lag of group "${subscription.group}" on topic "${subscription.topic}" is not known`;
    const [ends, [committed]] = await this.admin.ask(what, LAG_TIMEOUT_MS, (admin) =>
      Promise.all([
        admin.fetchTopicOffsets(topic),
        admin.fetchOffsets({
          groupId,
          topics: [topic],
        }),
      ]),
    );
    const done = new Map(committed?.partitions.map(({ partition, offset }) => [partition, BigInt(offset)]));
    return ends.reduce((sum, { partition, low, high }) => {
      const from = done.get(partition) ?? -1n;
      return sum + Number(BigInt(high) - (from < BigInt(low) ? BigInt(low) : from));
    }, 0);
  }
  async close() {
    await Promise.all([this.publisher.close(), this.admin.close()]);
  }
}

//# sourceMappingURL=kafka.adapter.js.map
