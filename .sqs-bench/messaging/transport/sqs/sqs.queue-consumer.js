import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { backoffMs } from '../backoff.js';
import { isMissingQueue, request, unavailable } from './sqs.connection.js';
import { Deletions } from './sqs.deletions.js';
import { groupsOf } from './sqs.delivery-group.js';
import { unpack } from './sqs.message.js';
import { MAX_BATCH_ENTRIES } from './sqs.settings.js';
import { VisibilityKeeper } from './sqs.visibility.js';
/** Beyond the wait itself. */ const RECEIVE_TIMEOUT_MS = 8_000;
const MAX_FAILURES = 4;
const FAILURE_BASE_MS = 200;
const FAILURE_MAX_MS = 2_000;
/** At the end, a poll that is late gets so long before it is cut off. */ const CLOSE_GRACE_MS = 1_000;
/** At the end, deletes are waited for so long; those that are late go on by themselves. */ const CLOSE_DELETE_MS = 3_000;
/** Consumes one queue; hands messages over in the order in which they came, without waiting for the former one. */ export class SqsQueueConsumer {
  settings;
  visibility;
  deletions;
  /** What came last of each message group that is in hand. */ groups = new Map();
  /** By the id of each message in hand. */ owners = new Map();
  working = new Set();
  deleting = new Set();
  pollers = [];
  activePollers = 0;
  polls = new Set();
  /** Groups of messages that came back suspiciously often; tried one at a time. */ suspects = [];
  isTryingSuspects = false;
  hasGivenUpOne = false;
  ended = new AbortController();
  constructor(settings) {
    this.settings = settings;
    const { queue, visibilitySeconds, connection, logger } = settings;
    this.visibility = new VisibilityKeeper(queue, visibilitySeconds, connection, logger);
    this.deletions = new Deletions(queue, connection, logger);
  }
  get isEnding() {
    return this.ended.signal.aborted;
  }
  start() {
    this.addPoller();
  }
  /** Takes nothing more; what is in hand is kept. */ stop() {
    this.ended.abort();
  }
  /** Takes nothing more, waits for what is in hand, tells SQS of it as far as SQS listens, and gives back what was not handled. */ async close() {
    this.stop();
    const { waitSeconds } = this.settings;
    const late = setTimeout(() => this.cutPolls(), waitSeconds * 1000 + CLOSE_GRACE_MS);
    await Promise.all(this.pollers);
    clearTimeout(late);
    while (this.working.size > 0) await Promise.all(this.working);
    this.visibility.stop();
    await Promise.race([
      Promise.all(this.deleting),
      sleep(CLOSE_DELETE_MS, undefined, {
        ref: false,
      }),
    ]);
  }
  cutPolls() {
    for (const poll of this.polls) poll.abort(new Error('the subscription is closed'));
  }
  addPoller() {
    this.activePollers++;
    this.pollers.push(this.poll());
  }
  async poll() {
    const { room, maxPollers, idleMs } = this.settings;
    let failures = 0;
    let lost;
    while (!this.isEnding) {
      const places = await room.take(MAX_BATCH_ENTRIES);
      const attempt = lost ?? randomUUID();
      const messages = this.isEnding ? [] : await this.receive(places, attempt, failures);
      room.give(places - (messages?.length ?? 0));
      failures = messages ? 0 : failures + 1;
      // The answer may have been lost, not the question: asked under the same name, SQS gives the same messages again.
      lost = failures === 1 ? attempt : undefined;
      if (!messages) await this.rest(backoffMs(failures, FAILURE_BASE_MS, FAILURE_MAX_MS));
      else if (messages.length === 0 && this.activePollers > 1) break;
      else if (messages.length === 0) await this.rest(idleMs);
      else if (messages.length === MAX_BATCH_ENTRIES && this.activePollers < maxPollers && !this.isEnding) this.addPoller();
    }
    this.activePollers--;
  }
  /** What came, or undefined when nothing is known. */ async receive(places, attempt, failures) {
    const { queue, visibilitySeconds, waitSeconds, connection } = this.settings;
    const poll = new AbortController();
    this.polls.add(poll);
    const since = performance.now();
    try {
      const { Messages: messages = [] } = await request(
        waitSeconds * 1000 + RECEIVE_TIMEOUT_MS,
        (options) =>
          connection.receiving.receiveMessage(
            {
              QueueUrl: queue.url,
              MaxNumberOfMessages: places,
              WaitTimeSeconds: waitSeconds,
              VisibilityTimeout: visibilitySeconds,
              ReceiveRequestAttemptId: attempt,
              MessageAttributeNames: ['All'],
              MessageSystemAttributeNames: ['ApproximateReceiveCount', 'MessageGroupId', 'MessageDeduplicationId', 'SequenceNumber'],
            },
            options,
          ),
        poll,
      );
      this.accept(messages, since);
      return messages;
    } catch (error) {
      this.failed(error, failures + 1);
      return undefined;
    } finally {
      this.polls.delete(poll);
    }
  }
  failed(error, failures) {
    const { queue, logger } = this.settings;
    if (this.isEnding) return;
    logger.debug(
      {
        queue: queue.name,
        failures,
        err: error,
      },
      'a receive failed',
    );
    if (failures < MAX_FAILURES && !isMissingQueue(error)) return;
    this.stop();
    this.settings.onDown(unavailable(`queue "${queue.name}" cannot be read`, error));
  }
  accept(messages, since) {
    for (const group of groupsOf(messages, since, this.settings.visibilitySeconds * 1000)) {
      this.takeIntoHand(group);
      this.visibility.hold(group);
      if (this.isSuspect(group)) this.suspects.push(group);
      else this.track(this.handOver(group));
    }
    if (this.suspects.length > 0 && !this.isTryingSuspects) this.track(this.trySuspects());
  }
  takeIntoHand(group) {
    const ids = group.deliveries.map(({ message }) => message.MessageId ?? '');
    const former = new Set(ids.map((id) => this.owners.get(id)).filter((owner) => owner !== undefined));
    for (const owner of former) owner.lose(new Error('SQS has delivered it again, because its visibility had run out'));
    if (former.size === 0) this.groups.get(group.id)?.isFollowedBy(group);
    this.groups.set(group.id, group);
    for (const id of ids) this.owners.set(id, group);
  }
  letGo(group) {
    this.visibility.drop(group);
    if (this.groups.get(group.id) === group) this.groups.delete(group.id);
    for (const delivery of group.deliveries) this.disown(group, delivery);
  }
  disown(group, { message }) {
    const id = message.MessageId ?? '';
    if (this.owners.get(id) === group) this.owners.delete(id);
  }
  /** What SQS gave up already is handed over for its burial only. */ isSuspect({ deliveries }) {
    return this.settings.undeliverable === undefined && (deliveries[0]?.receiveCount ?? 0) > this.settings.maxReceiveCount / 2;
  }
  /**
   * A message that was in hand each time the process died must not be tried for ever. What was in hand with it
   * came back as often, and through no fault of its own, so suspects are tried one at a time: those before the
   * culprit get through, and at the limit the culprit is the first. It becomes a dead letter in its place, before
   * later events of its key; SQS's own limit, which would let those overtake it, is twice as far away.
   */ async trySuspects() {
    this.isTryingSuspects = true;
    for (let group = this.suspects.shift(); group; group = this.suspects.shift()) {
      const times = group.deliveries[0]?.receiveCount ?? 0;
      const isGivenUp = times > this.settings.maxReceiveCount && !this.hasGivenUpOne;
      this.hasGivenUpOne ||= isGivenUp;
      await this.handOver(
        group,
        isGivenUp ? `it was received ${times} times and never settled: each time the process died or lost the broker` : undefined,
      );
      await Promise.all(this.deleting);
    }
    this.isTryingSuspects = false;
  }
  /** Resolves when all of the group is settled, or given back. */ async handOver(group, undeliverable) {
    const ends = group.deliveries.map(async (delivery, index) => {
      if (!this.isEnding) await this.settle(group, delivery, index === 0 ? undeliverable : undefined);
    });
    await Promise.all(ends);
    this.letGo(group);
    const { held } = group;
    if (held.length > 0 && !group.isLost) await this.visibility.release(held);
    this.settings.room.give(held.length);
  }
  async settle(group, delivery, undeliverable) {
    const settlement = await this.settings.deliver(this.incoming(delivery, undeliverable));
    if (settlement === 'release') return group.stopBehind(delivery);
    delivery.isHeld = false;
    this.disown(group, delivery);
    // Not waited for here: others of the group may be in hand for long.
    const deletion = this.deletions.delete(delivery, group.visibleAt).then(() => {
      this.deleting.delete(deletion);
      this.settings.room.give(1);
    });
    this.deleting.add(deletion);
  }
  incoming({ message, abort }, givenUp) {
    const undeliverable = givenUp ?? this.settings.undeliverable;
    return {
      deliveryId: `${this.settings.topic}/${message.MessageId ?? ''}`,
      topic: this.settings.topic,
      signal: abort.signal,
      ...unpack(message),
      ...(undeliverable !== undefined && {
        undeliverable,
      }),
    };
  }
  track(work) {
    this.working.add(work);
    void work.finally(() => this.working.delete(work));
  }
  async rest(milliseconds) {
    if (milliseconds > 0)
      await sleep(milliseconds, undefined, {
        signal: this.ended.signal,
      }).catch(() => undefined); // cut short at the end
  }
}

//# sourceMappingURL=sqs.queue-consumer.js.map
