import type { Consumer, ConsumerGroupJoinEvent, EachBatchPayload } from 'kafkajs';
import { setTimeout as pause } from 'node:timers/promises';
import {
  BrokerUnavailableError,
  type ActiveSubscription,
  type Deliver,
  type SubscribeOptions,
  type Subscription,
} from '../broker-adapter.js';
import { KafkaClient, retryOptions } from './kafka.client.js';
import { unavailable } from './kafka.errors.js';
import type { KafkaNames } from './kafka.names.js';
import { KafkaPartition } from './kafka.partition.js';
import type { KafkaSettings } from './kafka.settings.js';
import { within } from '../within.js';

const COMMIT_EVERY_MS = 200;
const COMMIT_EVERY_MESSAGES = 500;
const COMMIT_AGAIN_MS = 1_000;
const LAST_COMMIT_TIMEOUT_MS = 5_000;
const LEAVE_TIMEOUT_MS = 4_000;
/** How long a fetch waits for messages; also how long kafkajs takes to notice that it should stop. */
const FETCH_WAIT_MS = 500;
const FETCH_BYTES = 2 * 1024 * 1024;
/** A released message comes again, but not at once. */
const RELEASE_PAUSE_MS = 250;
/** kafkajs tells why it stopped a moment after it has stopped. */
const CRASH_REASON_WAIT_MS = 1_000;
const RETRIES = 3;

/**
 * One kafkajs consumer. Messages are handed over in partition order without waiting for their handling, and the
 * offset of a partition is committed up to the lowest message that is not settled. A partition that stays through a
 * rebalance keeps its deliveries; one that goes has them aborted, and if it comes back, begins only after they ended,
 * so no key is ever worked on twice at once here.
 */
export class KafkaSubscription implements ActiveSubscription {
  private readonly topicName: string;
  private readonly groupId: string;
  private readonly client: KafkaClient;
  private readonly consumer: Consumer;
  private readonly heartbeatMs: number;
  private readonly rebalanceMs: number;
  private readonly partitions = new Map<number, KafkaPartition>();
  /** Lost partitions whose deliveries have not ended, by partition. */
  private readonly leaving = new Map<number, Promise<void>>();
  private memberId: string | undefined;
  /** Counts the group's generations that this member was in. */
  private generation = 0;
  private inFlight = 0;
  private wakeUp: (() => void) | undefined;
  private drainWaiting: (() => void)[] = [];
  private commitOffsets: EachBatchPayload['commitOffsetsIfNecessary'] | undefined;
  private committing: Promise<boolean> | undefined;
  private commitTimer: NodeJS.Timeout | undefined;
  private sinceCommit = 0;
  private commitTroubleSince: number | undefined;
  private aliveAt = performance.now();
  private watchdog: NodeJS.Timeout | undefined;
  private readonly joined: Promise<void>;
  private onJoined: () => void = () => undefined;
  private onJoinFailed: (reason: Error) => void = () => undefined;
  private established = false;
  private closing = false;
  private down: Error | undefined;
  private closed: Promise<void> | undefined;
  private left: Promise<void> | undefined;

  constructor(
    readonly subscription: Subscription,
    private readonly deliver: Deliver,
    private readonly options: SubscribeOptions,
    names: KafkaNames,
    private readonly settings: KafkaSettings,
  ) {
    const { sessionTimeoutMs } = settings.kafka;
    this.topicName = names.topic(subscription.topic);
    this.groupId = names.group(subscription);
    this.heartbeatMs = Math.max(100, Math.min(3_000, Math.floor(sessionTimeoutMs / 4)));
    // Members come back at their next heartbeat; none has a reason to be later.
    this.rebalanceMs = sessionTimeoutMs;
    this.client = new KafkaClient(settings);
    this.consumer = this.client.kafka.consumer({
      groupId: this.groupId,
      sessionTimeout: sessionTimeoutMs,
      rebalanceTimeout: this.rebalanceMs,
      heartbeatInterval: this.heartbeatMs,
      maxWaitTimeInMs: FETCH_WAIT_MS,
      maxBytes: FETCH_BYTES,
      allowAutoTopicCreation: false,
      retry: retryOptions(RETRIES),
    });
    this.joined = new Promise((resolve, reject) => {
      this.onJoined = resolve;
      this.onJoinFailed = reject;
    });
    this.joined.catch(() => undefined); // `start` awaits it, unless it fails before
    this.listen();
  }

  /** Resolves once this member has joined its group. */
  async start(): Promise<void> {
    const { consumer, topicName } = this;
    const limitMs = this.patienceMs + this.settings.kafka.requestTimeoutMs;
    const join = async (): Promise<void> => {
      await consumer.connect();
      await consumer.subscribe({ topic: topicName, fromBeginning: true });
      await consumer.run({ autoCommit: false, eachBatchAutoResolve: false, eachBatch: (payload) => this.take(payload) });
      await this.joined;
    };
    try {
      await within(limitMs, `it did not get into the consumer group "${this.groupId}"`, join());
    } catch (error) {
      this.fail(error);
      await this.leave();
      throw this.down ?? error;
    }
    this.established = true;
    this.watchdog = setInterval(() => this.watch(), this.heartbeatMs);
  }

  close(): Promise<void> {
    this.closed ??= this.end();
    return this.closed;
  }

  private async end(): Promise<void> {
    this.closing = true;
    if (!this.down) this.steer(() => this.consumer.pause([{ topic: this.topicName }]));
    this.wakeUp?.();
    while (this.inFlight > 0) await new Promise<void>((resolve) => this.drainWaiting.push(resolve));
    clearTimeout(this.commitTimer);
    const deadline = performance.now() + LAST_COMMIT_TIMEOUT_MS;
    while (!this.down && !(await this.commit()) && performance.now() < deadline) await pause(COMMIT_EVERY_MS / 2);
    await this.leave();
  }

  /** Longer than any rebalance; who was not heard of by the group for so long is out of it. */
  private get patienceMs(): number {
    return this.rebalanceMs + this.settings.kafka.sessionTimeoutMs + 5_000;
  }

  private listen(): void {
    const { consumer } = this;
    const { GROUP_JOIN, HEARTBEAT, REBALANCING, END_BATCH_PROCESS, CRASH, STOP, DISCONNECT } = consumer.events;
    const alive = (): void => void (this.aliveAt = performance.now());
    const stopped = (): void => void this.stopped();
    consumer.on(GROUP_JOIN, (event) => {
      alive();
      this.assign(event);
    });
    consumer.on(HEARTBEAT, alive);
    consumer.on(REBALANCING, () => void this.commit());
    // Records that are none of ours, as the marks of transactions, never come to `take`.
    consumer.on(END_BATCH_PROCESS, ({ payload }) => {
      if (payload.batchSize > 0) return;
      this.partitions.get(payload.partition)?.tracker.skipTo(BigInt(payload.lastOffset) + 1n);
      this.commitSoon();
    });
    consumer.on(CRASH, ({ payload }) => this.fail(payload.error));
    consumer.on(STOP, stopped);
    consumer.on(DISCONNECT, stopped);
  }

  private assign({ payload }: ConsumerGroupJoinEvent): void {
    const owned = new Set(payload.memberAssignment[this.topicName] ?? []);
    // Under another name it is another member: the group had expelled it, and anybody may have had its partitions.
    const expelled = this.memberId !== undefined && this.memberId !== payload.memberId;
    this.memberId = payload.memberId;
    this.generation++;
    for (const partition of this.partitions.values()) {
      if (expelled || !owned.has(partition.id)) this.lose(partition, new Error('the partition was given to another member of the group'));
    }
    for (const id of owned) if (!this.partitions.has(id)) this.gain(id);
    this.commitSoon();
    this.settings.logger.debug({ ...this.subscription, partitions: [...owned], expelled }, 'partitions assigned');
    this.onJoined();
  }

  private lose(partition: KafkaPartition, reason: Error): void {
    partition.lose(reason);
    this.detach(partition);
  }

  /** From now on it is not this member's record of the partition that counts. */
  private detach(partition: KafkaPartition): void {
    const { id } = partition;
    this.partitions.delete(id);
    const ended = Promise.all([this.leaving.get(id), partition.drained()]).then(() => {
      if (this.leaving.get(id) === ended) this.leaving.delete(id);
    });
    this.leaving.set(id, ended);
  }

  private gain(id: number): void {
    const partition = new KafkaPartition(this.subscription.topic, id);
    this.partitions.set(id, partition);
    const former = this.leaving.get(id);
    if (former) this.hold(partition, former);
    else this.resume(partition);
  }

  /** Takes nothing from the partition until then. */
  private hold(partition: KafkaPartition, until: Promise<void>): void {
    partition.held = true;
    const partitions = [{ topic: this.topicName, partitions: [partition.id] }];
    if (this.isTaking) this.steer(() => this.consumer.pause(partitions));
    void until.then(() => this.resume(partition));
  }

  private resume(partition: KafkaPartition): void {
    partition.held = false;
    if (!this.isTaking || this.partitions.get(partition.id) !== partition) return;
    this.steer(() => this.consumer.resume([{ topic: this.topicName, partitions: [partition.id] }]));
  }

  /** kafkajs takes no orders when it has stopped, even if it has not said so yet. */
  private steer(order: () => void): void {
    try {
      order();
    } catch (error) {
      this.fail(error);
    }
  }

  private get isTaking(): boolean {
    return !this.closing && !this.down;
  }

  /** kafkajs' handler. Whatever it threw would kill the consumer, or be retried by kafkajs in its own way. */
  private async take(payload: EachBatchPayload): Promise<void> {
    try {
      this.commitOffsets = payload.commitOffsetsIfNecessary;
      await this.handOver(payload);
    } catch (error) {
      this.fail(error);
    }
  }

  private async handOver({ batch, resolveOffset, heartbeat, isRunning, isStale }: EachBatchPayload): Promise<void> {
    const { generation } = this;
    const partition = this.partitions.get(batch.partition);
    if (!partition) return;
    const isMine = (): boolean => this.generation === generation && this.partitions.get(batch.partition) === partition;
    const maySend = (): boolean => isMine() && this.isTaking && !partition.held && isRunning() && !isStale();
    let last: string | undefined;
    for (const message of batch.messages) {
      if (!maySend()) break;
      const offset = BigInt(message.offset);
      if (partition.tracker.precedes(offset)) return this.startOver(partition);
      if (!partition.tracker.knows(offset)) {
        if (this.inFlight >= this.options.maxInFlight && !(await this.room(heartbeat, maySend))) break;
        void this.handle(partition, message);
      }
      last = message.offset;
    }
    if (last === undefined || !isMine() || isStale()) return;
    resolveOffset(last);
    if (last === batch.messages.at(-1)?.offset) partition.tracker.skipTo(BigInt(batch.lastOffset()) + 1n);
  }

  /** The broker has gone back behind what was committed: its record of the partition counts, not ours. */
  private startOver(partition: KafkaPartition): void {
    this.settings.logger.warn({ ...this.subscription, partition: partition.id }, 'the partition starts over at an earlier offset');
    this.detach(partition);
    this.gain(partition.id);
  }

  private async handle(partition: KafkaPartition, message: EachBatchPayload['batch']['messages'][number]): Promise<void> {
    this.inFlight++;
    try {
      const settlement = await partition.deliver(message, this.deliver);
      if (settlement === 'settled') this.settled();
      else this.released(partition);
    } catch (error) {
      this.fail(error);
    } finally {
      this.inFlight--;
      this.wakeUp?.();
      if (this.inFlight === 0) for (const wake of this.drainWaiting.splice(0)) wake();
    }
  }

  private settled(): void {
    if (++this.sinceCommit >= COMMIT_EVERY_MESSAGES && !this.committing && this.commitTroubleSince === undefined) void this.commit();
    else this.commitSoon();
  }

  /** Goes back to the lowest released message, once nothing of the partition is in flight. */
  private released(partition: KafkaPartition): void {
    if (!this.isTaking || partition.isLost || partition.held) return;
    const rewind = async (): Promise<void> => {
      await partition.drained();
      await pause(RELEASE_PAUSE_MS);
      const offset = partition.tracker.rewind();
      if (offset === undefined || !this.isTaking || this.partitions.get(partition.id) !== partition) return;
      this.steer(() => this.consumer.seek({ topic: this.topicName, partition: partition.id, offset: String(offset) }));
    };
    this.hold(partition, rewind());
  }

  /** Waits for room, and keeps the session alive meanwhile; false when there is no more to take. */
  private async room(heartbeat: () => Promise<void>, maySend: () => boolean): Promise<boolean> {
    let beat = false;
    const timer = setInterval(() => {
      beat = true;
      this.wakeUp?.();
    }, this.heartbeatMs / 2);
    try {
      while (this.inFlight >= this.options.maxInFlight) {
        await new Promise<void>((resolve) => (this.wakeUp = resolve));
        if (!maySend()) return false;
        if (!beat) continue;
        beat = false;
        try {
          await heartbeat();
        } catch (error) {
          // kafkajs beats again after this batch, and does then what is to be done.
          this.settings.logger.debug({ ...this.subscription, err: error }, 'the group did not take the heartbeat');
          await this.commit();
          return false;
        }
      }
      return maySend();
    } finally {
      clearInterval(timer);
      this.wakeUp = undefined;
    }
  }

  private commitSoon(ms = COMMIT_EVERY_MS): void {
    if (this.commitTimer || this.closing || this.down) return;
    this.commitTimer = setTimeout(() => void this.commit(), ms);
  }

  /** Commits what is settled; answers whether all of that is committed now. */
  private async commit(): Promise<boolean> {
    clearTimeout(this.commitTimer);
    this.commitTimer = undefined;
    while (this.committing) await this.committing;
    this.sinceCommit = 0;
    const due = [...this.partitions.values()].flatMap((partition) => {
      const offset = partition.tracker.committable;
      return offset === undefined ? [] : [{ partition, offset }];
    });
    if (due.length === 0 || !this.commitOffsets || this.down) return true;
    this.committing = this.send(this.commitOffsets, due);
    try {
      return await this.committing;
    } finally {
      this.committing = undefined;
    }
  }

  private async send(
    commitOffsets: EachBatchPayload['commitOffsetsIfNecessary'],
    due: readonly { partition: KafkaPartition; offset: bigint }[],
  ): Promise<boolean> {
    try {
      const partitions = due.map(({ partition, offset }) => ({ partition: partition.id, offset: String(offset) }));
      await commitOffsets({ topics: [{ topic: this.topicName, partitions }] });
      for (const { partition, offset } of due) partition.tracker.committed(offset);
      this.commitTroubleSince = undefined;
      return true;
    } catch (error) {
      this.settings.logger.debug({ ...this.subscription, err: error }, 'offsets were not committed; trying again');
      this.commitTroubleSince ??= performance.now();
      if (performance.now() - this.commitTroubleSince > this.patienceMs) this.fail(error);
      else this.commitSoon(COMMIT_AGAIN_MS);
      return false;
    }
  }

  /** A member that its group does not hear of has no partitions, whatever kafkajs is doing. */
  private watch(): void {
    const silentMs = performance.now() - this.aliveAt;
    if (silentMs > this.patienceMs) {
      this.fail(new BrokerUnavailableError(`the consumer group was not heard of for ${Math.round(silentMs)} ms`));
    }
  }

  private async stopped(): Promise<void> {
    if (this.closing || this.down) return;
    await pause(CRASH_REASON_WAIT_MS);
    this.fail(new Error('kafkajs stopped the consumer'));
  }

  private fail(reason: unknown): void {
    if (this.down) return;
    const { group, topic } = this.subscription;
    const what = this.established
      ? `group "${group}" lost its subscription to "${topic}"`
      : `group "${group}" could not subscribe to "${topic}"`;
    const down = unavailable(what, reason, this.settings.kafka);
    this.down = down;
    clearTimeout(this.commitTimer);
    for (const partition of this.partitions.values()) partition.lose(down);
    this.wakeUp?.();
    this.onJoinFailed(down);
    if (!this.established) return;
    if (!this.closing) this.options.onDown(down);
    void this.leave();
  }

  /** Lets go of the group, in bounded time, so that others take over at once. */
  private leave(): Promise<void> {
    this.left ??= this.disconnect();
    return this.left;
  }

  private async disconnect(): Promise<void> {
    clearInterval(this.watchdog);
    try {
      await within(LEAVE_TIMEOUT_MS, 'Kafka did not let the consumer go', this.consumer.disconnect());
    } catch (error) {
      this.settings.logger.debug({ ...this.subscription, err: error }, 'the consumer ended without a farewell; its group notices later');
    }
    this.client.destroy(new Error('closed'));
  }
}
