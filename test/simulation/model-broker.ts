import { bucketOf } from '../../src/messaging/event/key-hash.js';
import {
  BrokerUnavailableError,
  MessageRejectedError,
  type ActiveSubscription,
  type BrokerAdapter,
  type Deliver,
  type OutgoingMessage,
  type SubscribeOptions,
  type Subscription,
  type Topology,
} from '../../src/messaging/transport/broker-adapter.js';
import type { SimulatedProcess, VirtualTime } from './virtual-time.js';

const PARTITIONS = 3;
const SESSION_MS = 6000;

interface Stored {
  readonly message: OutgoingMessage;
  readonly offset: number;
}

interface KeyQueue {
  readonly partition: number;
  readonly messages: Stored[];
  /** The next to be handed out, and those that were settled. */
  next: number;
  readonly settled: Set<number>;
  /** No delivery of the key arrives before this moment, so that none overtakes another. */
  lastAt: number;
}

interface Member {
  readonly process: SimulatedProcess;
  readonly deliver: Deliver;
  readonly options: SubscribeOptions;
  readonly inFlight: Map<string, { partition: number; generation: number; abort: AbortController }>;
  left: boolean;
  idle: (() => void) | undefined;
}

interface GroupQueue {
  readonly subscription: Subscription;
  readonly keys: Map<string, KeyQueue>;
  readonly members: Member[];
  owners: (Member | undefined)[];
  /** Counts assignments; what was handed out in an earlier one is no longer this broker's concern. */
  generations: number[];
  count: number;
}

/**
 * A broker that keeps what real adapters promise, and nothing more: it stores what it has confirmed, keeps the
 * order of a key, and delivers again from the oldest unsettled message. Everything else it does as badly as it may:
 * answers get lost, other keys come in any order, deliveries are dropped and repeated, members come and go.
 */
export class ModelBroker {
  private groups: GroupQueue[] = [];
  private topics: ReadonlySet<string> = new Set();
  /** Every message of a topic that was stored, in order, with repetitions. */
  readonly stored: OutgoingMessage[] = [];
  awayUntil = 0;
  /** Answers of publishes that are lost on the way, although the messages are stored. */
  loseAnswers = 0;
  refuses: (message: OutgoingMessage) => boolean = () => false;
  onStored: (message: OutgoingMessage) => void = () => undefined;
  onSettled: (subscription: Subscription, message: OutgoingMessage) => void = () => undefined;
  /** Repetitions that the broker itself has caused. */
  redeliveries = 0;

  /**
   * @param kind `log`: one log for all groups, and a taken-over partition begins again somewhat too early;
   *   `queue`: a copy for each group, which may get it one by one
   */
  constructor(
    private readonly time: VirtualTime,
    private readonly random: () => number,
    private readonly kind: 'log' | 'queue',
  ) {}

  /** As one process sees it. */
  adapter(process: SimulatedProcess): BrokerAdapter {
    return {
      maxMessageBytes: 1_000_000,
      open: (topology) => this.travel(process, () => this.create(topology)),
      publish: (messages) => this.publish(process, messages),
      subscribe: async (subscription, deliver, options) => {
        await this.travel(process, () => undefined);
        return this.join(process, subscription, deliver, options);
      },
      check: () => this.travel(process, () => undefined),
      close: () => Promise.resolve(),
    };
  }

  get idle(): boolean {
    return this.groups.every(({ keys }) => [...keys.values()].every(({ messages, settled }) => settled.size === messages.length));
  }

  /** Ends the process's membership after the time that a broker takes to notice. */
  lost(process: SimulatedProcess): void {
    this.time.schedule(
      SESSION_MS,
      () => {
        if (!process.dead && process.frozenUntil <= this.time.now) return;
        for (const group of this.groups)
          for (const member of group.members.filter((candidate) => candidate.process === process)) {
            this.expel(group, member);
            if (!process.dead) this.time.schedule(1, () => this.down(member, 'the session has expired'), process);
          }
      },
      undefined,
    );
  }

  /** Breaks every subscription of a process, as a lost connection does. */
  breakSubscriptions(process: SimulatedProcess): void {
    for (const group of this.groups)
      for (const member of group.members.filter((candidate) => candidate.process === process)) {
        this.expel(group, member);
        this.time.schedule(1, () => this.down(member, 'the connection was lost'), process);
      }
  }

  /** Hands every partition to somebody, perhaps somebody else, who begins at the oldest unsettled message. */
  rebalance(): void {
    for (const group of this.groups) this.assign(group, true);
  }

  private down(member: Member, reason: string): void {
    for (const { abort } of member.inFlight.values()) abort.abort(new Error(reason));
    member.options.onDown(new BrokerUnavailableError(reason));
  }

  private create(topology: Topology): void {
    this.topics = new Set([...topology.topics, ...topology.deadLetterTopics]);
    for (const subscription of topology.subscriptions) {
      if (this.groups.some((group) => group.subscription.group === subscription.group && group.subscription.topic === subscription.topic))
        continue;
      this.groups.push({
        subscription,
        keys: new Map(),
        members: [],
        owners: new Array<undefined>(PARTITIONS).fill(undefined),
        generations: new Array<number>(PARTITIONS).fill(0),
        count: 0,
      });
    }
  }

  private travel<T>(process: SimulatedProcess, work: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.time.schedule(
        this.delay(),
        () => {
          if (this.awayUntil > this.time.now) reject(new BrokerUnavailableError('the broker is away'));
          else resolve(work());
        },
        process,
      );
    });
  }

  private async publish(process: SimulatedProcess, messages: readonly OutgoingMessage[]): Promise<(Error | undefined)[]> {
    const outcomes: (Error | undefined)[] = messages.map(() => undefined);
    const byKey = new Map<string, number[]>();
    for (const [index, { topic, key }] of messages.entries()) {
      const id = `${topic}\u0000${key}`;
      byKey.set(id, [...(byKey.get(id) ?? []), index]);
    }
    await Promise.all(
      [...byKey.values()].map(async (indexes) => {
        let failure: Error | undefined;
        for (const index of indexes) {
          const message = messages[index] as OutgoingMessage;
          if (!failure && (this.refuses(message) || !this.topics.has(message.topic)))
            failure = new MessageRejectedError(`the broker refuses ${message.eventId}`);
          if (!failure) failure = await this.send(process, message).catch((error: unknown) => error as Error);
          outcomes[index] = failure;
        }
      }),
    );
    return outcomes;
  }

  /** One message: on its way it needs the process no more, or still does. */
  private send(process: SimulatedProcess, message: OutgoingMessage): Promise<undefined> {
    const detached = this.random() < 0.5;
    return new Promise((resolve, reject) => {
      this.time.schedule(
        this.delay(),
        () => {
          const answer = (settle: () => void): void => void this.time.schedule(this.delay(), settle, process);
          if (this.awayUntil > this.time.now) return answer(() => reject(new BrokerUnavailableError('the broker is away')));
          const lost = this.loseAnswers > 0;
          if (lost) this.loseAnswers--;
          this.store(message, lost && this.random() < 0.5);
          if (lost) return answer(() => reject(new BrokerUnavailableError('no confirmation came')));
          answer(() => resolve(undefined));
        },
        detached ? undefined : process,
      );
    });
  }

  /** @param partial only one of the groups' queues gets it */
  private store(message: OutgoingMessage, partial: boolean): void {
    const groups = this.groups.filter(({ subscription }) => subscription.topic === message.topic);
    const takers = partial && this.kind === 'queue' ? groups.slice(0, Math.floor(this.random() * groups.length)) : groups;
    if (takers.length === groups.length) {
      this.stored.push(message);
      this.onStored(message);
    }
    for (const group of takers) {
      let queue = group.keys.get(message.key);
      if (!queue)
        group.keys.set(
          message.key,
          (queue = { partition: bucketOf(message.key, PARTITIONS), messages: [], next: 0, settled: new Set(), lastAt: 0 }),
        );
      queue.messages.push({ message, offset: group.count++ });
      this.pump(group, queue.partition);
    }
  }

  private join(
    process: SimulatedProcess,
    { group: name, topic }: Subscription,
    deliver: Deliver,
    options: SubscribeOptions,
  ): ActiveSubscription {
    const group = this.groups.find(({ subscription }) => subscription.group === name && subscription.topic === topic);
    if (!group) throw new Error(`nobody has opened ${name} on ${topic}`);
    const member: Member = { process, deliver, options, inFlight: new Map(), left: false, idle: undefined };
    group.members.push(member);
    this.assign(group, false);
    return {
      close: async () => {
        member.left = true;
        if (member.inFlight.size > 0) await new Promise<void>((resolve) => (member.idle = resolve));
        await new Promise<void>((resolve) => {
          this.time.schedule(
            this.delay(),
            () => {
              this.expel(group, member);
              resolve();
            },
            process,
          );
        });
      },
    };
  }

  private expel(group: GroupQueue, member: Member): void {
    member.left = true;
    const index = group.members.indexOf(member);
    if (index < 0) return;
    group.members.splice(index, 1);
    this.assign(group, false);
  }

  private assign(group: GroupQueue, shuffle: boolean): void {
    const able = group.members.filter(({ process }) => !process.dead);
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const before = group.owners[partition];
      const turn = shuffle ? Math.floor(this.random() * Math.max(1, able.length)) : partition % Math.max(1, able.length);
      const after = able[turn];
      if (before === after && !(shuffle && this.random() < 0.5)) continue;
      group.owners[partition] = after;
      group.generations[partition] = (group.generations[partition] ?? 0) + 1;
      if (before) this.revoke(before, partition, group.generations[partition] ?? 0);
      this.rewind(group, partition);
      this.pump(group, partition);
    }
  }

  /** The former owner learns of it later, or never. */
  private revoke(member: Member, partition: number, generation: number): void {
    this.time.schedule(
      this.random() * 50,
      () => {
        for (const delivery of member.inFlight.values())
          if (delivery.partition === partition && delivery.generation < generation)
            delivery.abort.abort(new Error('the partition was taken away'));
      },
      member.process,
    );
  }

  private rewind(group: GroupQueue, partition: number): void {
    for (const queue of group.keys.values()) {
      if (queue.partition !== partition) continue;
      let first = queue.messages.findIndex((_, index) => !queue.settled.has(index));
      if (first < 0) first = queue.messages.length;
      if (this.kind === 'log') first = Math.max(0, first - Math.floor(this.random() * 3));
      if (first < queue.next) this.redeliveries++;
      queue.next = first;
      queue.lastAt = this.time.now;
    }
  }

  private pump(group: GroupQueue, partition: number): void {
    const member = group.owners[partition];
    if (!member || member.left) return;
    const generation = group.generations[partition] as number;
    for (;;) {
      if (member.inFlight.size >= member.options.maxInFlight) return;
      const ready = [...group.keys.values()].filter((queue) => queue.partition === partition && queue.next < queue.messages.length);
      const queue = ready[Math.floor(this.random() * ready.length)];
      if (!queue) return;
      const index = queue.next++;
      // A copy for each group: what is settled does not come again.
      if (this.kind === 'queue' && queue.settled.has(index)) continue;
      this.hand(group, queue, index, member, generation);
    }
  }

  private hand(group: GroupQueue, queue: KeyQueue, index: number, member: Member, generation: number): void {
    const { message, offset } = queue.messages[index] as Stored;
    const { partition } = queue;
    const id = `${generation}/${offset}`;
    const abort = new AbortController();
    member.inFlight.set(id, { partition, generation, abort });
    queue.lastAt = Math.max(queue.lastAt, this.time.now + this.delay());
    const done = (): void => {
      member.inFlight.delete(id);
      if (member.inFlight.size === 0) member.idle?.();
    };
    this.time.schedule(
      queue.lastAt - this.time.now,
      () => {
        if (member.left || group.generations[partition] !== generation) {
          done();
          for (let other = 0; other < PARTITIONS; other++) this.pump(group, other);
          return;
        }
        const delivery = {
          deliveryId: `${message.topic}/${partition}/${offset}`,
          topic: message.topic,
          key: message.key,
          headers: message.headers,
          payload: message.payload,
          signal: abort.signal,
        };
        const take = async (): Promise<void> => {
          const settlement = await member.deliver(delivery);
          done();
          if (settlement === 'settled') this.onSettled(group.subscription, message);
          this.time.schedule(this.delay(), () => this.settle(group, queue, index, settlement, generation), undefined);
        };
        void take();
      },
      member.process,
    );
  }

  private settle(group: GroupQueue, queue: KeyQueue, index: number, settlement: 'settled' | 'release', generation: number): void {
    const current = group.generations[queue.partition] === generation;
    // A log takes no commit of a member that it has put out; a queue takes the acknowledgement of a single message.
    if (settlement === 'settled' && (current || this.kind === 'queue')) queue.settled.add(index);
    if (settlement === 'release' && current && group.owners[queue.partition]?.left === false) {
      // Released in the middle of an assignment: this member is to begin anew.
      group.generations[queue.partition] = generation + 1;
      this.rewind(group, queue.partition);
    }
    for (let partition = 0; partition < PARTITIONS; partition++) this.pump(group, partition);
  }

  private delay(): number {
    return 1 + this.random() * 10;
  }
}
