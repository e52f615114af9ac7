import { BrokerUnavailableError, TopologyMismatchError } from '../broker-adapter.js';
import { isMissingQueue, nameOf, request, unavailable } from './sqs.connection.js';
import { DEFAULT_MAX_BYTES } from './sqs.settings.js';
const REQUEST_TIMEOUT_MS = 10_000;
/** The longest that SQS knows: an outage of the consumers must not eat events. */ const RETENTION_SECONDS = 14 * 24 * 3600;
const MAX_RECEIVE_COUNT = 1000;
const PARALLEL = 8;
/** SQS may need a moment until everybody knows of a new queue. */ const NEW_QUEUE_TRIES = 10;
const NEW_QUEUE_PAUSE_MS = 300;
const READ = ['QueueArn', 'FifoQueue', 'MessageRetentionPeriod', 'RedrivePolicy', 'MaximumMessageSize'];
/**
 * Makes the queues, or checks that they are there; deletes nothing. What a queue may be given later (retention,
 * redrive) is mended where that is allowed. Its own visibility time-out does not matter: every receive names one.
 */ export class SqsTopology {
  connection;
  names;
  settings;
  known = new Map();
  constructor(connection, names, settings) {
    this.connection = connection;
    this.names = names;
    this.settings = settings;
  }
  /**
   * The queues that each topic is published to.
   * @throws TopologyMismatchError naming every queue that is missing or contradicts
   */ async open({ topics, subscriptions, deadLetterTopics }) {
    const routes = new Map([...topics, ...deadLetterTopics].map((topic) => [topic, []]));
    const add = (topic, queue) => void routes.set(topic, [...(routes.get(topic) ?? []), queue]);
    await all([
      ...subscriptions.map((subscription) => async () => add(subscription.topic, (await this.ensureSubscription(subscription)).main)),
      ...deadLetterTopics.map((topic) => async () => add(topic, (await this.ensure(this.names.topic(topic))).queue)),
    ]);
    return routes;
  }
  /** @throws TopologyMismatchError */ async ensureSubscription(subscription) {
    const undeliverable = await this.ensure(this.names.undeliverable(subscription));
    const main = await this.ensure(this.names.queue(subscription), undeliverable.arn);
    const queues = {
      main: main.queue,
      undeliverable: undeliverable.queue,
    };
    this.known.set(main.queue.name, queues);
    return queues;
  }
  /** What was found last, without asking again. */ async queuesOf(subscription) {
    return this.known.get(this.names.queue(subscription)) ?? this.ensureSubscription(subscription);
  }
  async ensure(name, undeliverableArn) {
    try {
      const found = await this.find(name);
      const url = found ?? (await this.create(name, undeliverableArn));
      const attributes = await this.read(url, found === undefined);
      await this.compare(name, url, attributes, undeliverableArn);
      const maxMessageBytes = Number(attributes['MaximumMessageSize'] ?? DEFAULT_MAX_BYTES);
      return {
        queue: {
          name,
          url,
          maxMessageBytes,
        },
        arn: attributes['QueueArn'] ?? '',
      };
    } catch (error) {
      if (error instanceof TopologyMismatchError || error instanceof BrokerUnavailableError) throw error;
      throw unavailable(`queue "${name}" could not be made or checked`, error);
    }
  }
  async find(name) {
    try {
      return (
        await this.ask((options) =>
          this.connection.settling.getQueueUrl(
            {
              QueueName: name,
            },
            options,
          ),
        )
      ).QueueUrl;
    } catch (error) {
      if (isMissingQueue(error)) return undefined;
      throw error;
    }
  }
  async create(name, undeliverableArn) {
    const attributes = {
      FifoQueue: 'true',
      ContentBasedDeduplication: 'false',
      // Many groups of messages at once, instead of 300 requests a second for all of them.
      DeduplicationScope: 'messageGroup',
      FifoThroughputLimit: 'perMessageGroupId',
      VisibilityTimeout: String(this.settings.sqs.visibilityTimeoutSeconds),
      MessageRetentionPeriod: String(RETENTION_SECONDS),
      ...(undeliverableArn !== undefined && {
        RedrivePolicy: this.redrivePolicy(undeliverableArn),
      }),
    };
    if (!this.settings.provision) {
      throw new TopologyMismatchError(
        `queue "${name}" is missing, and BROKER_PROVISION=false forbids to create it. Create it with ${JSON.stringify(attributes)}, or let one instance start with BROKER_PROVISION=true`,
      );
    }
    try {
      const { QueueUrl: url } = await this.ask((options) =>
        this.connection.settling.createQueue(
          {
            QueueName: name,
            Attributes: attributes,
          },
          options,
        ),
      );
      this.settings.logger.info(
        {
          queue: name,
        },
        'created a queue',
      );
      return url;
    } catch (error) {
      // Another instance was faster, with other settings; they are compared next.
      const url = nameOf(error) === 'QueueNameExists' ? await this.find(name) : undefined;
      if (url === undefined) throw error;
      return url;
    }
  }
  async read(url, isNew) {
    for (let tries = 1; ; tries++) {
      try {
        const { Attributes: attributes } = await this.ask((options) =>
          this.connection.settling.getQueueAttributes(
            {
              QueueUrl: url,
              AttributeNames: READ,
            },
            options,
          ),
        );
        return attributes ?? {};
      } catch (error) {
        if (!isNew || !isMissingQueue(error) || tries >= NEW_QUEUE_TRIES) throw error;
        await new Promise((resolve) => setTimeout(resolve, NEW_QUEUE_PAUSE_MS));
      }
    }
  }
  async compare(name, url, attributes, undeliverableArn) {
    if (attributes['FifoQueue'] !== 'true') {
      throw new TopologyMismatchError(
        `queue "${name}" has FifoQueue ${attributes['FifoQueue'] ?? 'false'}, wanted is true; it keeps no order. Empty it, delete it by hand (nothing here deletes) and start again`,
      );
    }
    const mend = {};
    const retention = attributes['MessageRetentionPeriod'];
    if (retention !== undefined && Number(retention) < RETENTION_SECONDS) mend['MessageRetentionPeriod'] = String(RETENTION_SECONDS);
    if (undeliverableArn !== undefined && !this.redrives(name, attributes['RedrivePolicy'], undeliverableArn))
      mend['RedrivePolicy'] = this.redrivePolicy(undeliverableArn);
    if (Object.keys(mend).length === 0) return;
    const had = Object.fromEntries(Object.keys(mend).map((attribute) => [attribute, attributes[attribute]]));
    if (!this.settings.provision) {
      if (mend['RedrivePolicy'] !== undefined && attributes['RedrivePolicy'] === undefined) {
        throw new TopologyMismatchError(
          `queue "${name}" has no RedrivePolicy, wanted is ${mend['RedrivePolicy']}, and BROKER_PROVISION=false forbids to change it. Set it, or let one instance start with BROKER_PROVISION=true`,
        );
      }
      this.settings.logger.warn(
        {
          queue: name,
          had,
          wanted: mend,
        },
        'a queue differs from what is wanted; BROKER_PROVISION=false leaves it so',
      );
      return;
    }
    await this.ask((options) =>
      this.connection.settling.setQueueAttributes(
        {
          QueueUrl: url,
          Attributes: mend,
        },
        options,
      ),
    );
    this.settings.logger.warn(
      {
        queue: name,
        had,
        now: mend,
      },
      'changed the attributes of a queue',
    );
  }
  /** Twice the configured count, because the adapter gives a message up itself before SQS does: see SqsQueueConsumer. */ redrivePolicy(
    deadLetterTargetArn,
  ) {
    const maxReceiveCount = Math.min(MAX_RECEIVE_COUNT, this.settings.sqs.maxReceiveCount * 2);
    return JSON.stringify({
      deadLetterTargetArn,
      maxReceiveCount: String(maxReceiveCount),
    });
  }
  redrives(name, policy, undeliverableArn) {
    if (policy === undefined || policy === '') return false;
    const has = JSON.parse(policy);
    const wants = JSON.parse(this.redrivePolicy(undeliverableArn));
    if (has.deadLetterTargetArn !== undefined && has.deadLetterTargetArn !== wants.deadLetterTargetArn) {
      throw new TopologyMismatchError(
        `queue "${name}" has a RedrivePolicy to ${has.deadLetterTargetArn}, wanted is ${undeliverableArn}, which is read here; messages would vanish where nobody reads. Set or remove the policy by hand`,
      );
    }
    return String(has.maxReceiveCount) === wants.maxReceiveCount;
  }
  ask(send) {
    return request(REQUEST_TIMEOUT_MS, send);
  }
}
/** Runs a few at a time and waits for all; then throws what a person must mend, in one error, or else the first failure. */ async function all(
  work,
) {
  const failures = [];
  const rest = [...work];
  const takeTurns = async () => {
    for (let next = rest.shift(); next; next = rest.shift()) await next().catch((error) => void failures.push(error));
  };
  await Promise.all(
    Array.from(
      {
        length: PARALLEL,
      },
      takeTurns,
    ),
  );
  const mismatches = failures.filter((error) => error instanceof TopologyMismatchError);
  if (mismatches.length > 1) throw new TopologyMismatchError(mismatches.map(({ message }) => message).join('\n'));
  const failure = mismatches[0] ?? failures[0];
  if (failure) throw failure;
}

//# sourceMappingURL=sqs.topology.js.map
