import type { Message } from '@aws-sdk/client-sqs';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../../observability/logger.js';
import { backoffMs } from '../backoff.js';
import type { Deliver, IncomingMessage } from '../broker-adapter.js';
import type { Room } from './room.js';
import { isMissingQueue, request, unavailable, type SqsConnection } from './sqs.connection.js';
import { Deletions } from './sqs.deletions.js';
import { groupsOf, type Delivery, type DeliveryGroup } from './sqs.delivery-group.js';
import { unpack } from './sqs.message.js';
import { MAX_BATCH_ENTRIES } from './sqs.settings.js';
import type { SqsQueue } from './sqs.topology.js';
import { VisibilityKeeper } from './sqs.visibility.js';

/** Beyond the wait itself. */
const RECEIVE_TIMEOUT_MS = 8_000;
const MAX_FAILURES = 4;
const FAILURE_BASE_MS = 200;
const FAILURE_MAX_MS = 2_000;
/** At the end, a poll that is late gets so long before it is cut off. */
const CLOSE_GRACE_MS = 1_000;
/** At the end, deletes are waited for so long; those that are late go on by themselves. */
const CLOSE_DELETE_MS = 3_000;

export interface QueueConsumerSettings {
  readonly queue: SqsQueue;
  readonly topic: string;
  /** Why each message of this queue is undeliverable, if the queue is the one that SQS puts such messages into. */
  readonly undeliverable?: string;
  /** From so many receives on, a message is suspected to end the process. */
  readonly maxReceiveCount: number;
  readonly visibilitySeconds: number;
  /**
   * How long SQS may keep a poll waiting. A poll cannot be taken back: what SQS gives to one that was cut off is
   * invisible until its time-out. So polls are short, and at the end they are waited for.
   */
  readonly waitSeconds: number;
  readonly maxPollers: number;
  /** Rest between polls that found nothing. */
  readonly idleMs: number;
  /** Shared by all queues of the subscription. */
  readonly room: Room;
  readonly deliver: Deliver;
  readonly connection: SqsConnection;
  readonly logger: Logger;
  readonly onDown: (reason: Error) => void;
}

/** Consumes one queue; hands messages over in the order in which they came, without waiting for the former one. */
export class SqsQueueConsumer {
  private readonly visibility: VisibilityKeeper;
  private readonly deletions: Deletions;
  /** What came last of each message group that is in hand. */
  private readonly groups = new Map<string, DeliveryGroup>();
  /** By the id of each message in hand. */
  private readonly owners = new Map<string, DeliveryGroup>();
  private readonly working = new Set<Promise<void>>();
  private readonly deleting = new Set<Promise<void>>();
  private readonly pollers = new Set<Promise<void>>();
  private activePollers = 0;
  private readonly polls = new Set<AbortController>();
  /** Groups of messages that came back suspiciously often; tried one at a time. */
  private readonly suspects: DeliveryGroup[] = [];
  private isTryingSuspects = false;
  private hasGivenUpOne = false;
  private readonly ended = new AbortController();

  constructor(private readonly settings: QueueConsumerSettings) {
    const { queue, visibilitySeconds, connection, logger } = settings;
    this.visibility = new VisibilityKeeper(queue, visibilitySeconds, connection, logger);
    this.deletions = new Deletions(queue, connection, logger);
  }

  private get isEnding(): boolean {
    return this.ended.signal.aborted;
  }

  start(): void {
    this.addPoller();
  }

  /** Takes nothing more; what is in hand is kept. */
  stop(): void {
    this.ended.abort();
  }

  /** Takes nothing more, waits for what is in hand, tells SQS of it as far as SQS listens, and gives back what was not handled. */
  async close(): Promise<void> {
    this.stop();
    const { waitSeconds } = this.settings;
    const late = setTimeout(() => this.cutPolls(), waitSeconds * 1000 + CLOSE_GRACE_MS);
    while (this.pollers.size > 0) await Promise.all(this.pollers);
    clearTimeout(late);
    while (this.working.size > 0) await Promise.all(this.working);
    this.visibility.stop();
    await Promise.race([Promise.all(this.deleting), sleep(CLOSE_DELETE_MS, undefined, { ref: false })]);
  }

  private cutPolls(): void {
    for (const poll of this.polls) poll.abort(new Error('the subscription is closed'));
  }

  private addPoller(): void {
    this.activePollers++;
    const poller = this.poll().finally(() => this.pollers.delete(poller));
    this.pollers.add(poller);
  }

  private async poll(): Promise<void> {
    const { room, maxPollers, idleMs } = this.settings;
    let failures = 0;
    let lost: string | undefined;
    while (!this.isEnding) {
      const places = await room.take(MAX_BATCH_ENTRIES);
      const attempt: string = lost ?? randomUUID();
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

  /** What came, or undefined when nothing is known. */
  private async receive(places: number, attempt: string, failures: number): Promise<Message[] | undefined> {
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

  private failed(error: unknown, failures: number): void {
    const { queue, logger } = this.settings;
    if (this.isEnding) return;
    logger.debug({ queue: queue.name, failures, err: error }, 'a receive failed');
    if (failures < MAX_FAILURES && !isMissingQueue(error)) return;
    this.stop();
    this.settings.onDown(unavailable(`queue "${queue.name}" cannot be read`, error));
  }

  private accept(messages: readonly Message[], since: number): void {
    for (const group of groupsOf(messages, since, this.settings.visibilitySeconds * 1000)) {
      this.takeIntoHand(group);
      this.visibility.hold(group);
      if (this.isSuspect(group)) this.suspects.push(group);
      else this.track(this.handOver(group));
    }
    if (this.suspects.length > 0 && !this.isTryingSuspects) this.track(this.trySuspects());
  }

  private takeIntoHand(group: DeliveryGroup): void {
    const ids = group.deliveries.map(({ message }) => message.MessageId ?? '');
    const former = new Set(ids.map((id) => this.owners.get(id)).filter((owner) => owner !== undefined));
    for (const owner of former) owner.lose(new Error('SQS has delivered it again, because its visibility had run out'));
    if (former.size === 0) this.groups.get(group.id)?.isFollowedBy(group);
    this.groups.set(group.id, group);
    for (const id of ids) this.owners.set(id, group);
  }

  private letGo(group: DeliveryGroup): void {
    this.visibility.drop(group);
    if (this.groups.get(group.id) === group) this.groups.delete(group.id);
    for (const delivery of group.deliveries) this.disown(group, delivery);
  }

  private disown(group: DeliveryGroup, { message }: Delivery): void {
    const id = message.MessageId ?? '';
    if (this.owners.get(id) === group) this.owners.delete(id);
  }

  /** What SQS gave up already is handed over for its burial only. */
  private isSuspect({ deliveries }: DeliveryGroup): boolean {
    return this.settings.undeliverable === undefined && (deliveries[0]?.receiveCount ?? 0) > this.settings.maxReceiveCount / 2;
  }

  /**
   * A message that was in hand each time the process died must not be tried for ever. What was in hand with it
   * came back as often, and through no fault of its own, so suspects are tried one at a time: those before the
   * culprit get through, and at the limit the culprit is the first. It becomes a dead letter in its place, before
   * later events of its key; SQS's own limit, which would let those overtake it, is twice as far away.
   */
  private async trySuspects(): Promise<void> {
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

  /** Resolves when all of the group is settled, or given back. */
  private async handOver(group: DeliveryGroup, undeliverable?: string): Promise<void> {
    const ends = group.deliveries.map(async (delivery, index) => {
      if (!this.isEnding) await this.settle(group, delivery, index === 0 ? undeliverable : undefined);
    });
    await Promise.all(ends);
    this.letGo(group);
    const { held } = group;
    if (held.length > 0 && !group.isLost) await this.visibility.release(held);
    this.settings.room.give(held.length);
  }

  private async settle(group: DeliveryGroup, delivery: Delivery, undeliverable: string | undefined): Promise<void> {
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

  private incoming({ message, abort }: Delivery, givenUp: string | undefined): IncomingMessage {
    const undeliverable = givenUp ?? this.settings.undeliverable;
    return {
      deliveryId: `${this.settings.topic}/${message.MessageId ?? ''}`,
      topic: this.settings.topic,
      signal: abort.signal,
      ...unpack(message),
      ...(undeliverable !== undefined && { undeliverable }),
    };
  }

  private track(work: Promise<void>): void {
    this.working.add(work);
    void work.finally(() => this.working.delete(work));
  }

  private async rest(milliseconds: number): Promise<void> {
    if (milliseconds > 0) await sleep(milliseconds, undefined, { signal: this.ended.signal }).catch(() => undefined); // cut short at the end
  }
}
