import { setTimeout as wait } from 'node:timers/promises';
import { TopologyMismatchError } from '../broker-adapter.js';
import { replyOf, unavailable } from './rabbitmq.connection.js';
const DEAD_LETTER_TOPIC_MESSAGES = 10_000;
const DEAD_LETTER_TOPIC_BYTES = 64 * 1024 * 1024;
/** 4.x would drop a message after 20 deliveries where nothing is said, and 3.10 knows no word for "never". */ const NO_DELIVERY_LIMIT = 1_000_000_000;
/**
 * The server keeps a new quorum queue's registration in memory for almost a second: killed meanwhile, it comes
 * back with a queue that never has a leader again (tried on 3.10.8 and 4.0.5; lost at 750 ms, kept at 1000 ms).
 */ const REGISTRATION_MS = 1_500;
/**
 * Makes the exchanges and queues, or checks that they are there. Asserting the same thing twice changes nothing,
 * so any number of instances may do it at once; nothing is deleted and nothing that exists is changed.
 */ export class RabbitmqTopology {
  connection;
  names;
  settings;
  constructor(connection, names, settings) {
    this.connection = connection;
    this.names = names;
    this.settings = settings;
  }
  /** @throws TopologyMismatchError */ async open(topology) {
    this.names.assertDistinct(topology);
    await this.ensureTopics(topology);
    let created = false;
    await all(
      topology.subscriptions.map(async (subscription) => {
        if (!(await this.agreesWithQueues(subscription))) created = this.settings.provision;
        await this.ensureSubscription(subscription);
      }),
    );
    if (created) await wait(REGISTRATION_MS);
  }
  /**
   * The queues of one subscription, and what they are bound to.
   * @throws TopologyMismatchError
   */ async ensureSubscription(subscription) {
    const queues = this.names.queues(subscription);
    const undeliverable = this.names.undeliverable(subscription);
    const exchange = this.names.topic(subscription.topic);
    await this.connection.onChannel(async (channel) => {
      await this.ensureExchange(channel, exchange);
      await this.ensureQueue(channel, undeliverable, {
        ...QUORUM,
        'x-single-active-consumer': true,
        'x-delivery-limit': NO_DELIVERY_LIMIT,
      });
      // The last one first: whoever finds the first one without the last one knows that the number of queues has changed.
      for (const [bucket, queue] of [...queues.entries()].reverse()) {
        await this.ensureQueue(channel, queue, {
          ...QUORUM,
          'x-single-active-consumer': true,
          // Twice, because we give a message up ourselves before the broker does: see RabbitmqQueueConsumer.
          'x-delivery-limit': this.settings.rabbitmq.deliveryLimit * 2,
          'x-dead-letter-exchange': '',
          'x-dead-letter-routing-key': undeliverable,
          'x-dead-letter-strategy': 'at-least-once',
          'x-overflow': 'reject-publish',
        });
        await this.ensureBinding(channel, queue, exchange, this.names.bindingKey(bucket));
      }
    });
  }
  async ensureTopics({ topics, deadLetterTopics }) {
    await this.connection.onChannel(async (channel) => {
      for (const topic of [...topics, ...deadLetterTopics]) await this.ensureExchange(channel, this.names.topic(topic));
      for (const topic of deadLetterTopics) {
        const name = this.names.topic(topic);
        await this.ensureQueue(channel, name, {
          ...QUORUM,
          'x-max-length': DEAD_LETTER_TOPIC_MESSAGES,
          'x-max-length-bytes': DEAD_LETTER_TOPIC_BYTES,
          'x-delivery-limit': NO_DELIVERY_LIMIT,
        });
        await this.ensureBinding(channel, name, name, '#');
      }
    });
  }
  async ensureExchange(channel, name) {
    const work = this.settings.provision
      ? channel.assertExchange(name, 'topic', {
          durable: true,
        })
      : channel.checkExchange(name);
    await work.catch((error) => this.explain(error, `exchange "${name}"`, 'type topic, durable'));
  }
  async ensureQueue(channel, name, args) {
    const options = {
      durable: true,
      arguments: args,
    };
    const work = this.settings.provision ? channel.assertQueue(name, options) : channel.checkQueue(name);
    await work.catch((error) => this.explain(error, `queue "${name}"`, JSON.stringify(args)));
  }
  /** AMQP has no way to ask whether a binding exists; publishing is `mandatory`, and tells. */ async ensureBinding(
    channel,
    queue,
    exchange,
    key,
  ) {
    if (!this.settings.provision) return;
    await channel
      .bindQueue(queue, exchange, key)
      .catch((error) => this.explain(error, `binding of "${queue}" to exchange "${exchange}"`, key));
  }
  /**
   * Whether the subscription has as many queues as it should; false when they are still to be made. With another
   * number a key falls into another queue, so it would overtake itself, and a queue beyond the number would never
   * be read again.
   * @throws TopologyMismatchError when queues of another number are in use
   */ async agreesWithQueues(subscription) {
    const queues = this.names.queues(subscription);
    const [first, last] = [await this.inspect(queues[0]), await this.inspect(queues.at(-1))];
    if (!first) return false;
    const formerNumber = await this.countQueues(subscription, last ? queues.length : 1);
    if (formerNumber === queues.length) return true;
    for (let bucket = 0; bucket < formerNumber; bucket++) {
      const name = this.names.queue(subscription, bucket);
      const found = await this.inspect(name);
      if (!found || (found.messageCount === 0 && found.consumerCount === 0)) continue;
      throw new TopologyMismatchError(
        `group "${subscription.group}" has ${formerNumber} queues on topic "${subscription.topic}", the configuration says ${queues.length}, and queue "${name}" is in use ` +
          `(${found.messageCount} messages, ${found.consumerCount} consumers). Set the number of queues per group back to ${formerNumber}, or stop every instance once all these queues are empty and start again`,
      );
    }
    return formerNumber > queues.length;
  }
  async countQueues(subscription, atLeast) {
    let number = atLeast;
    while (await this.inspect(this.names.queue(subscription, number))) number++;
    return number;
  }
  async inspect(queue) {
    return this.connection.onChannel((channel) =>
      channel.checkQueue(queue).catch((error) => {
        const { code, text } = replyOf(error);
        if (code === 404 && text.includes('no queue')) return undefined;
        throw unavailable(`queue "${queue}" could not be inspected`, error);
      }),
    );
  }
  explain(error, what, wanted) {
    const { code, text } = replyOf(error);
    const cause = {
      cause: error,
    };
    if (code === 404 && !this.settings.provision) {
      throw new TopologyMismatchError(
        `${what} is missing, and BROKER_PROVISION=false forbids to create it. Create it with ${wanted}, or let one instance start with BROKER_PROVISION=true`,
        cause,
      );
    }
    if (code === 406) {
      const { argument, received, current } = INEQUIVALENT.exec(text)?.groups ?? {};
      const difference = argument === undefined ? text : `${argument} is ${current ?? '?'}, the configuration wants ${received ?? '?'}`;
      throw new TopologyMismatchError(
        `${what} exists, but is another: ${difference}. Wanted: ${wanted}. Set the configuration back, or empty it, delete it by hand (nothing here deletes) and start again`,
        cause,
      );
    }
    if (code === 403)
      throw new TopologyMismatchError(
        `${what} cannot be used: ${text}. Give the user of RABBITMQ_URL the right to configure it, or create it and set BROKER_PROVISION=false`,
        cause,
      );
    throw unavailable(`${what} could not be made`, error);
  }
}
const QUORUM = {
  'x-queue-type': 'quorum',
};
const INEQUIVALENT = /inequivalent arg '(?<argument>[^']+)' for .*?: received (?<received>.+?) but current is (?<current>.+?)"?$/;
/** Waits for all, so that nothing goes on behind a failure, then throws the one that a person must mend, or else the first. */ async function all(
  work,
) {
  const failures = (await Promise.allSettled(work)).filter((result) => result.status === 'rejected').map(({ reason }) => reason);
  const failure = failures.find((error) => error instanceof TopologyMismatchError) ?? failures[0];
  if (failure) throw failure;
}

//# sourceMappingURL=rabbitmq.topology.js.map
