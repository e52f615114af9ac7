import type { SchedulerRegistry } from '@nestjs/schedule';
import type { DiscoveryService } from '@nestjs/core';
import type { Config } from '../../src/config/config.js';
import { readConfig } from '../../src/config/read-config.js';
import { isDatabaseUnavailable } from '../../src/database/database-errors.js';
import type { Database } from '../../src/database/database.js';
import type { Notifications } from '../../src/database/notifications.js';
import { ConsumerRegistry } from '../../src/messaging/consumer/consumer-registry.js';
import { Consumers } from '../../src/messaging/consumer/consumers.js';
import { DeadLetters } from '../../src/messaging/consumer/dead-letters.js';
import { NonRetryableError, type ConsumeContext } from '../../src/messaging/consumer/event-consumer.js';
import { Inbox } from '../../src/messaging/consumer/inbox.js';
import { Parking } from '../../src/messaging/consumer/parking.js';
import { announcement } from '../../src/messaging/dead-letter-announcement.js';
import type { EventEnvelope } from '../../src/messaging/event/event-envelope.js';
import { MessagingLifecycle } from '../../src/messaging/messaging-lifecycle.js';
import { MessagingSchedule } from '../../src/messaging/messaging-schedule.js';
import { MessagingSettings } from '../../src/messaging/messaging-settings.js';
import { Outbox } from '../../src/messaging/outbox/outbox.js';
import { OUTBOX_LANES } from '../../src/messaging/outbox/outbox-table.js';
import { LowWater } from '../../src/messaging/lane/low-water.js';
import { Relay } from '../../src/messaging/outbox/relay.js';
import { BrokerConnection } from '../../src/messaging/transport/broker-connection.js';
import { DeclaredSubscriptions } from '../../src/messaging/transport/declared-subscriptions.js';
import { PostgresAdapter } from '../../src/messaging/transport/postgres/postgres.adapter.js';
import type { Logger } from '../../src/observability/logger.js';
import { Metrics } from '../../src/observability/metrics.js';
import type { History, PlannedEvent, PlannedFault } from './history.js';
import { BrokenPromiseError, Ledger } from './ledger.js';
import { ModelBroker } from './model-broker.js';
import { ModelServer } from './model-server.js';
import type { Values } from './postgres-model/tables.js';
import { REPLIES, ReplySent, ThingHappened, ThingParked, ThingSkipped, THINGS } from './simulated-events.js';
import { seeded, SimulatedProcess, VirtualTime } from './virtual-time.js';

const HANDLER_TIMEOUT_MS = 3000;
const TRANSACTION_TIMEOUT_MS = 1500;
/** Once everything is mended, all must be quiet within so long. */
const QUIET_MS = 180_000;
const LEASE_MS = 10_000;
const LANES = 3;
/** Histories are short: where the lanes begin is looked for often. */
const LOOK_AFTER_ROWS = 3;
const MAX_ATTEMPTS = 3;
const BASE_DELAY_MS = 100;
const MAX_DELAY_MS = 1000;
/** Answers that are on their way when all is quiet arrive within so long. */
const SETTLING_MS = 300;

/** Who consumes what; the second asks for no order. */
const GROUPS = [
  { group: 'stock', topic: THINGS, order: 'key' },
  { group: 'mail', topic: THINGS, order: 'none' },
  { group: 'books', topic: REPLIES, order: 'key' },
] as const;

const settings: Config = readConfig({
  BROKER: 'kafka',
  BROKER_NAMESPACE: 'simulated',
  DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/nothing',
  KAFKA_BROKERS: '127.0.0.1:1',
  LOG_LEVEL: 'silent',
});
const metrics = new Metrics();

interface Instance {
  readonly process: SimulatedProcess;
  readonly database: Database;
  readonly outbox: Outbox;
  readonly deadLetters: DeadLetters;
  readonly lifecycle: MessagingLifecycle;
}

interface Call {
  readonly process: SimulatedProcess | undefined;
  readonly group: string;
  readonly eventId: string;
  readonly attempt: number;
}

export interface Outcome {
  readonly steps: number;
  readonly ms: number;
  readonly calls: number;
  readonly trace: readonly string[];
  /** The kinds of things that came up. */
  readonly happened: ReadonlySet<string>;
}

/**
 * Plays one history through: real relay, leases, runner, scheduler, inbox, parking, dead letters and their real
 * SQL, over a model of PostgreSQL and of a broker, in virtual time.
 * @throws BrokenPromiseError telling every promise that was broken, with what happened before
 */
export async function simulate(history: History): Promise<Outcome> {
  return new Simulation(history).run();
}

class Simulation {
  private readonly random: () => number;
  private readonly time: VirtualTime;
  private readonly server: ModelServer;
  private readonly broker: ModelBroker | undefined;
  private readonly ledger: Ledger;
  private readonly instances: (Instance | undefined)[] = [];
  private readonly listeners = new Map<string, Set<{ process: SimulatedProcess; callback: () => void }>>();
  private readonly failures = new Map<string, number>();
  /** Handlers that have neither ended nor been told to. */
  private readonly underWay = new Set<Call>();
  /** These, and those that go on all the same. */
  private readonly going = new Set<Call>();
  private mended = false;
  /** What an operator is about to set. */
  private paused: boolean | undefined;
  private processes = 0;
  private emitting = 0;

  constructor(private readonly history: History) {
    this.random = seeded(history.seed);
    this.time = new VirtualTime(this.random);
    this.server = new ModelServer(this.time, this.random, TRANSACTION_TIMEOUT_MS);
    this.server.latencyMs = history.latencyMs;
    this.server.onUnknown = (error) => this.ledger.breach(error.message);
    this.broker = history.broker === 'postgres' ? undefined : new ModelBroker(this.time, this.random, history.broker);
    this.ledger = new Ledger(
      this.server.storage,
      !this.broker,
      () => this.time.now,
      (topic) => GROUPS.filter((group) => group.topic === topic).map(({ group }) => group),
      (failures) => Math.min(MAX_DELAY_MS, BASE_DELAY_MS * 2 ** (failures - 1)) / 2,
    );
    if (this.broker) {
      this.broker.onStored = ({ eventId, topic, key }) => this.ledger.store(eventId, topic, key);
      this.broker.onSettled = ({ group }, { eventId }) => this.ledger.settle(group, eventId);
      this.broker.refuses = ({ eventId, payload }) => this.refused(eventId, payload);
    }
  }

  async run(): Promise<Outcome> {
    this.time.install();
    try {
      for (let i = 0; i < this.history.instances; i++) this.start(i);
      for (const [index, event] of this.history.events.entries())
        if (!(this.history.events[index - 1]?.joined ?? false)) this.time.schedule(event.at + 200, () => this.emit(index), undefined);
      for (const fault of this.history.faults) this.time.schedule(fault.at + 200, () => this.cause(fault), undefined);
      const end = Math.max(...this.history.events.map(({ at }) => at), ...this.history.faults.map(({ at }) => at)) + 300;
      await this.time.until(() => this.ledger.broken.length > 0, end);
      this.heal();
      await this.quiet(false);
      this.checkStandstill();
      await this.operate();
      await this.quiet(true);
      this.checkEnd();
    } finally {
      this.time.remove();
    }
    if (this.ledger.broken.length > 0)
      throw new BrokenPromiseError(
        `${this.ledger.broken.slice(0, 5).join('\n')}\n\nWhat happened:\n${this.ledger.trace.slice(-150).join('\n')}`,
      );
    const { happened, calls, trace } = this.ledger;
    if (this.server.waits > 0) happened.add('waited for a lock');
    if (this.server.messagesOfSeveral > 0) happened.add('several handlers asked in one message');
    if ((this.broker?.redeliveries ?? 0) > 0) happened.add('delivered again');
    return { steps: this.time.steps, ms: this.time.now, calls, trace, happened };
  }

  private start(index: number): void {
    const process = new SimulatedProcess(`instance ${index}.${this.processes++}`);
    this.act(process, () => {
      const config: Config = {
        ...settings,
        instance: process.name,
        outbox: { ...settings.outbox, lanes: LANES, leaseMs: LEASE_MS, pollIntervalMs: 2000, batchSize: 4, maxAttempts: MAX_ATTEMPTS },
        consumers: {
          ...settings.consumers,
          maxAttempts: MAX_ATTEMPTS,
          baseDelayMs: BASE_DELAY_MS,
          maxDelayMs: MAX_DELAY_MS,
          handlerTimeoutMs: HANDLER_TIMEOUT_MS,
          concurrency: 4,
          maxInFlight: 8,
        },
      };
      const logger = this.logger(process);
      const pool = this.server.pool();
      const database = this.server.database(TRANSACTION_TIMEOUT_MS);
      const notifications = this.notifications(process);
      const messaging = new MessagingSettings(config);
      const adapter =
        this.broker?.adapter(process) ??
        new PostgresAdapter({
          namespace: 'simulated',
          postgres: { leaseMs: LEASE_MS },
          instance: process.name,
          lanes: LANES,
          logger,
          database: pool,
          notifications,
          rowsBetweenLooks: LOOK_AFTER_ROWS,
        });
      const connection = new BrokerConnection(adapter, logger, metrics);
      const outbox = new Outbox(database, notifications, messaging, connection);
      const relay = new Relay(pool, notifications, connection, messaging, metrics, logger);
      Object.assign(relay, { lowWater: new LowWater(pool, OUTBOX_LANES, LOOK_AFTER_ROWS) });
      const inbox = new Inbox(database, pool);
      const parking = new Parking(database, announcement(outbox, messaging));
      const registry = new ConsumerRegistry({ getProviders: () => [] } as unknown as DiscoveryService);
      const consumers = new Consumers(registry, connection, database, pool, notifications, inbox, parking, messaging, metrics, logger);
      const deadLetters = new DeadLetters(database, parking, notifications);
      const declared = new DeclaredSubscriptions(pool);
      const lifecycle = new MessagingLifecycle(messaging, pool, registry, connection, relay, consumers, declared);
      const scheduler = { addInterval: () => undefined } as unknown as SchedulerRegistry;
      for (const { group, topic, order } of GROUPS)
        registry.add({
          name: group,
          group,
          topic,
          type: undefined,
          order,
          timeoutMs: undefined,
          commit: this.history.grouped === true ? 'grouped' : 'single',
          handle: (event, context) => this.handle(outbox, order === 'key', event as EventEnvelope<ThingHappened>, context),
        });
      this.instances[index] = { process, database, outbox, deadLetters, lifecycle };
      this.ledger.note(`${process.name} starts`);
      const begin = async (): Promise<void> => {
        for (;;) {
          try {
            await lifecycle.start();
            break;
          } catch {
            await new Promise((resolve) => setTimeout(resolve, 500)); // the database is away: a supervisor starts the process again
          }
        }
        new MessagingSchedule(scheduler, relay, consumers, inbox, registry, declared, messaging, logger).onApplicationBootstrap();
      };
      void begin();
    });
  }

  /** Lets a process do something, in a step of its own. */
  private act(process: SimulatedProcess, work: () => void): void {
    this.time.schedule(0, work, process);
  }

  private logger(process: SimulatedProcess): Logger {
    const write = (fields: { err?: Error; eventId?: string }, text: string): void =>
      this.ledger.note(
        `${process.name}: ${text}${fields.eventId === undefined ? '' : ` ${this.ledger.name(fields.eventId)}`}${fields.err ? ` (${fields.err.message})` : ''}`,
      );
    const silent = (): void => undefined;
    return { trace: silent, debug: silent, info: silent, warn: write, error: write, fatal: write } as unknown as Logger;
  }

  /** Hints travel to every process, and one in ten is lost. */
  private notifications(process: SimulatedProcess): Notifications {
    return {
      listen: (subject: string, callback: () => void) => {
        const all = this.listeners.get(subject) ?? new Set();
        const entry = { process, callback };
        all.add(entry);
        this.listeners.set(subject, all);
        return () => all.delete(entry);
      },
      notify: (subject: string) => {
        for (const { process: other, callback } of this.listeners.get(subject) ?? []) {
          if (other === process) callback();
          else if (!other.dead && this.random() > 0.1) this.time.schedule(10 + this.random() * 20, callback, other);
        }
      },
    } as unknown as Notifications;
  }

  /** One business transaction, at whichever process is up. */
  private emit(index: number): void {
    const { events } = this.history;
    const joined: PlannedEvent[] = [];
    for (let i = index; ; i++) {
      const event = events[i];
      if (!event) break;
      joined.push(event);
      if (!event.joined) break;
    }
    const up = this.instances.filter((instance) => instance && !instance.process.dead && instance.process.frozenUntil <= this.time.now);
    const instance = up[index % Math.max(1, up.length)];
    if (!instance) return;
    this.emitting++;
    this.act(instance.process, () => {
      void instance.database
        .transaction(async (tx) => {
          for (const [offset, { key, plan, kind }] of joined.entries()) {
            const eventClass = kind.startsWith('park') ? ThingParked : kind.startsWith('skip') ? ThingSkipped : ThingHappened;
            const text = kind === 'halted' || kind === 'parked' || kind === 'skipped' ? `${plan} refused` : plan;
            instance.outbox.emit(tx, Object.assign(new eventClass(), { key: `key ${key}`, n: index + offset, plan: text }));
          }
          await new Promise((resolve) => setTimeout(resolve, this.random() * 20));
        })
        .catch(() => undefined) // the client is told; only what has committed counts
        .finally(() => this.emitting--);
    });
  }

  private refused(eventId: string, payload: Buffer): boolean {
    const refused = !this.mended && payload.includes(' refused"');
    if (refused) this.ledger.refused.add(eventId);
    return refused;
  }

  private async handle(outbox: Outbox, ordered: boolean, event: EventEnvelope<ThingHappened>, context: ConsumeContext): Promise<void> {
    const { group, attempt } = context;
    const plan = event.data.plan.split(' ')[0];
    const name = `${group} ${event.id}`;
    this.ledger.begin(group, ordered, event.id, attempt);
    const call = { process: this.time.process(), group, eventId: event.id, attempt };
    for (const other of this.going)
      if (other.group === group && other.eventId === event.id) this.ledger.happened.add('handled by two at once');
    this.underWay.add(call);
    this.going.add(call);
    context.signal.addEventListener('abort', () => this.underWay.delete(call));
    try {
      await this.carryOut(outbox, ordered, event, context, plan, name);
    } finally {
      this.underWay.delete(call);
      this.going.delete(call);
    }
  }

  private async carryOut(
    outbox: Outbox,
    ordered: boolean,
    event: EventEnvelope<ThingHappened>,
    context: ConsumeContext,
    plan: string | undefined,
    name: string,
  ): Promise<void> {
    const { group } = context;
    const nap = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
    await nap(this.random() * 20);
    const before = this.failures.get(name) ?? 0;
    const fail = (): void => {
      this.failures.set(name, before + 1);
      this.ledger.fail(group, event.id, context.attempt);
    };
    if ((plan === 'fail1' && before < 1) || (plan === 'fail2' && before < 2) || (plan === 'poison' && !this.mended)) {
      fail();
      throw new Error('planned');
    }
    if (plan === 'fatal' && !this.mended) {
      fail();
      throw new NonRetryableError('planned');
    }
    if (plan === 'hang' && before < 1) {
      fail();
      await nap(HANDLER_TIMEOUT_MS * 1.5);
    }
    if (plan === 'slow') await nap(HANDLER_TIMEOUT_MS * 0.5);
    if (plan === 'plain') return;
    const late = context.signal.aborted;
    try {
      await context.once(async (tx) => {
        await tx.$executeRaw`INSERT INTO effect (group_name, event_id, key) VALUES (${group}, ${event.id}, ${event.partitionkey})`;
        if (plan === 'chain' && ordered)
          outbox.emit(tx, Object.assign(new ReplySent(), { key: event.partitionkey, n: event.data.n, plan: 'ok' }));
      });
      if (late) this.ledger.breach(`late: group ${group} committed an effect of ${this.ledger.name(event.id)} after its time`);
    } catch (error) {
      if (late) this.ledger.happened.add('came back after its time, and was refused');
      // What the database's absence ends is no failure of the event.
      if (!isDatabaseUnavailable(error) && !context.signal.aborted) this.ledger.fail(group, event.id, context.attempt);
      throw error;
    }
  }

  private cause({ kind, target, ms }: PlannedFault): void {
    const { time, server, broker } = this;
    const index = target % this.history.instances;
    const instance = this.instances[index];
    this.ledger.happened.add(kind);
    this.ledger.note(`fault: ${kind} ${instance?.process.name ?? ''} ${ms} ms`);
    switch (kind) {
      case 'kill':
        if (instance && !instance.process.dead) {
          this.kill(instance.process);
          time.schedule(ms, () => this.start(index), undefined);
        }
        return;
      case 'freeze':
        if (instance && !instance.process.dead) this.freeze(instance.process, ms);
        return;
      case 'stop':
        if (instance && !instance.process.dead && instance.process.frozenUntil <= time.now) this.stop(instance, index, Math.min(ms, 5000));
        return;
      case 'databaseAway':
        server.awayUntil = time.now + ms;
        return server.disconnectAll();
      case 'databaseRestart':
        return server.disconnectAll();
      case 'loseCommit':
        server.loseCommits++;
        return;
      case 'brokerAway':
        if (broker) broker.awayUntil = time.now + ms;
        return;
      case 'loseAnswer':
        if (broker) broker.loseAnswers++;
        return;
      case 'rebalance':
        return broker?.rebalance();
      case 'disconnect':
        if (instance && broker) broker.breakSubscriptions(instance.process);
        return;
      case 'replay':
        if (instance && !instance.process.dead)
          time.schedule(0, () => void instance.deadLetters.replayAll({}).catch(() => undefined), instance.process);
        return;
      case 'pause':
        this.pause(true);
        time.schedule(ms, () => this.pause(false), undefined);
        return;
    }
  }

  private kill(process: SimulatedProcess): void {
    process.dead = true;
    for (const calls of [this.underWay, this.going]) for (const call of calls) if (call.process === process) calls.delete(call);
    // What it has sent already still arrives.
    this.time.schedule(this.history.latencyMs * 2, () => this.server.abandon(process), undefined);
    this.broker?.lost(process);
  }

  private freeze(process: SimulatedProcess, ms: number): void {
    if (ms > LEASE_MS) this.ledger.happened.add('frozen past its leases');
    process.frozenUntil = Math.max(process.frozenUntil, this.time.now + ms);
    // A handler that stood still with its process is out of time when that goes on.
    if (ms >= HANDLER_TIMEOUT_MS / 2)
      for (const call of this.underWay) if (call.process === process) this.ledger.fail(call.group, call.eventId, call.attempt);
    this.server.frozen(process);
    this.broker?.lost(process);
  }

  private stop(instance: Instance, index: number, deadlineMs: number): void {
    this.act(instance.process, () => {
      void instance.lifecycle
        .stop(deadlineMs)
        .catch(() => undefined) // the database is away: then the leases run out
        .then(() => {
          if (instance.process.dead) return;
          this.kill(instance.process);
          this.time.schedule(100, () => this.start(index), undefined);
        });
    });
  }

  private pause(paused: boolean): void {
    const before = this.paused;
    this.paused = paused;
    if (before !== undefined) return; // an operator is at it already, and goes on until it is as it is wanted now
    this.act(new SimulatedProcess('operator'), () => {
      const pool = this.server.pool();
      const set = async (): Promise<void> => {
        while (this.paused !== undefined) {
          const now = this.paused;
          for (const { group } of GROUPS)
            await pool
              .query(
                'INSERT INTO consumer_group (group_name, paused) VALUES ($1, $2) ON CONFLICT (group_name) DO UPDATE SET paused = excluded.paused',
                [group, now],
              )
              .catch(async () => {
                await new Promise((resolve) => setTimeout(resolve, 500));
                this.paused ??= now;
                unsure = true;
              });
          if (!unsure && this.paused === now) this.paused = undefined;
          unsure = false;
        }
      };
      let unsure = false;
      void set();
    });
  }

  /** Everything but what needs a person. */
  private heal(): void {
    this.ledger.note('healed');
    this.server.awayUntil = 0;
    this.server.loseCommits = 0;
    if (this.broker) {
      this.broker.awayUntil = 0;
      this.broker.loseAnswers = 0;
    }
    this.pause(false);
  }

  private async quiet(all: boolean): Promise<void> {
    const deadline = this.time.now + QUIET_MS;
    let looks = 0;
    if (!(await this.time.until(() => looks++ % 8 === 0 && this.still(all), deadline)))
      this.ledger.breach(
        `not quiet ${QUIET_MS / 1000} s after everything was mended: ${['outbox', 'queued_message', 'parked_event', 'parked_key']
          .map(
            (table) =>
              `${table} ${JSON.stringify(this.server.storage.all(table).map(({ payload: _payload, headers: _headers, ...row }) => row))}`,
          )
          .join('; ')}, broker ${this.broker?.idle ?? 'is the database'}`,
      );
    // What is under way may still have an effect that it must not have.
    await this.time.until(() => this.going.size === 0, deadline);
    await this.time.until(() => this.ledger.broken.length > 0, this.time.now + SETTLING_MS);
  }

  private still(all: boolean): boolean {
    const { tables } = this.server.storage;
    const empty = (table: string): boolean => tables.get(table)?.rows.size === 0;
    if (this.ledger.broken.length > 0) return true;
    if (this.emitting > 0 && this.time.now < 60_000) return false;
    if (!empty('queued_message') || (this.broker && !this.broker.idle)) return false;
    return all ? empty('outbox') && empty('parked_event') && empty('parked_key') : this.outboxStands() && this.parkedStand();
  }

  /** Nothing is in the outbox but what stands behind an event that the broker refuses and whose policy is to wait. */
  private outboxStands(): boolean {
    const rows = this.server.storage.all('outbox');
    const keyOf = ({ topic, key }: Values): string => `${String(topic)}:${String(key)}`;
    const refused = rows.filter(
      ({ event_id: id, type, payload }) =>
        this.broker && type === 'simulated.thing.happened' && this.refused(id as string, Buffer.from(payload as string)),
    );
    return rows.every((row) => refused.some((before) => keyOf(before) === keyOf(row) && Number(before['id']) <= Number(row['id'])));
  }

  /** Nothing is parked but what stands behind an open dead letter. */
  private parkedStand(): boolean {
    const { storage } = this.server;
    const parked = storage.all('parked_event');
    if (parked.length === 0) return true;
    const open = storage.all('dead_letter').filter(({ state }) => state === 'open');
    return parked.every((row) =>
      open.some(
        (letter) =>
          letter['group_name'] === row['group_name'] &&
          letter['topic'] === row['topic'] &&
          letter['key'] === row['key'] &&
          Number(letter['seq']) < Number(row['seq']),
      ),
    );
  }

  /** With the infrastructure whole and nobody at the dead letters: what may stand, stands, and all else is through. */
  private checkStandstill(): void {
    if (this.ledger.broken.length > 0) return;
    const { storage } = this.server;
    const letters = storage.all('dead_letter');
    for (const { group_name: group, event_id: id, state, attempts, reason } of letters) {
      const event = this.ledger.committed.get(id as string);
      const plan = this.planOf(id as string);
      if (plan !== 'poison' && plan !== 'fatal' && this.ledger.attemptsOf(group as string, id as string).failures < MAX_ATTEMPTS)
        this.ledger.breach(
          `dead letter: group ${String(group)} gave up ${this.ledger.name(id as string)} (plan ${plan}), which was no poison: ${String(reason)}`,
        );
      if (!event) this.ledger.breach(`invented: a dead letter for ${String(id)}`);
      if (state === 'open' && plan === 'poison' && attempts !== MAX_ATTEMPTS)
        this.ledger.breach(`attempts: ${this.ledger.name(id as string)} was given up after ${String(attempts)} attempts`);
    }
    for (const { group, topic } of GROUPS)
      for (const event of this.consumable(topic)) {
        const plan = this.planOf(event.eventId);
        const letter = letters.find((row) => row['group_name'] === group && row['event_id'] === event.eventId);
        if (
          (plan === 'poison' || plan === 'fatal') &&
          !letter &&
          !this.isParked(group, event.eventId) &&
          this.ledger.published.has(event.eventId)
        )
          this.ledger.breach(`poison: group ${group} has no dead letter for ${this.ledger.name(event.eventId)}`);
        if (
          plan !== 'poison' &&
          plan !== 'fatal' &&
          !letter &&
          this.ledger.published.has(event.eventId) &&
          !this.isThrough(group, event.eventId) &&
          !this.isParked(group, event.eventId)
        )
          this.ledger.breach(`lost: group ${group} has neither handled nor parked ${this.ledger.name(event.eventId)}`);
      }
  }

  /** A person mends what was wrong and goes through the dead letters, until there are none. */
  private async operate(): Promise<void> {
    if (this.ledger.broken.length > 0) return;
    this.mended = true;
    this.ledger.note('mended');
    const openLetters = (): Values[] => this.server.storage.all('dead_letter').filter(({ state }) => state === 'open');
    let turn = 0;
    for (let round = 0; round < 20 && this.ledger.broken.length === 0; round++) {
      const able = (): Instance | undefined => this.instances.find((candidate) => candidate && !candidate.process.dead);
      let looks = 0;
      await this.time.until(
        () => looks++ % 8 === 0 && able() !== undefined && (openLetters().length > 0 || this.still(true)),
        this.time.now + QUIET_MS,
      );
      const open = openLetters();
      const instance = able();
      if (open.length === 0 || !instance) break;
      let left = open.length;
      for (const letter of open) {
        const act = this.history.operator[turn++ % this.history.operator.length];
        const id = letter['id'] as string;
        const { deadLetters } = instance;
        const data = (): unknown => ({ ...(JSON.parse(Buffer.from(letter['payload'] as Buffer).toString('utf8')) as object), plan: 'ok' });
        this.act(instance.process, () => {
          const work =
            act === 'discard' ? deadLetters.discard(id, 'simulated') : deadLetters.replay(id, act === 'edit' ? data() : undefined);
          void work.catch((error: unknown) => this.ledger.note(`operator: ${String(error)}`)).finally(() => left--);
        });
      }
      await this.time.until(() => left === 0, this.time.now + 60_000);
      await this.time.until(() => this.ledger.broken.length > 0, this.time.now + SETTLING_MS);
    }
  }

  private checkEnd(): void {
    const { ledger } = this;
    if (ledger.broken.length > 0) return;
    const { storage } = this.server;
    const open = storage.all('dead_letter').filter(({ state }) => state === 'open' || state === 'replaying');
    for (const letter of open)
      ledger.breach(`dead letter ${ledger.name(letter['event_id'] as string)} is ${String(letter['state'])} at the end`);
    for (const { group, topic } of GROUPS)
      for (const event of this.consumable(topic))
        if (!ledger.handled.has(`${group} ${event.eventId}`))
          ledger.breach(`lost: group ${group} has never handled ${ledger.name(event.eventId)}`);
    for (const event of ledger.committed.values())
      if (
        !ledger.published.has(event.eventId) &&
        !ledger.steppedAside.has(event.eventId) &&
        (this.broker || GROUPS.some(({ topic }) => topic === event.topic))
      )
        ledger.breach(`lost: ${ledger.name(event.eventId)} was never published`);
    const announced = [...ledger.committed.values()].filter(({ topic }) => topic.endsWith('.DLT')).length;
    const letters = storage.all('dead_letter').length;
    if (announced < letters) ledger.breach(`dead letter: ${announced} announcements of ${letters}`);
    const effects = ledger.effects();
    for (const [id, count] of effects) if (count > 1) ledger.breach(`effects: ${count} of ${id}`);
    for (const [, eventId = ''] of [...effects.keys()].map((id) => id.split(' ')))
      if (![...ledger.originals.entries()].some(([id]) => id.endsWith(eventId)) && !ledger.committed.has(eventId))
        ledger.breach(`invented: an effect of ${eventId}`);
    for (const { group, topic } of GROUPS)
      for (const event of this.consumable(topic)) {
        const plan = this.planOf(event.eventId);
        const touched = storage.all('dead_letter').some((row) => row['group_name'] === group && row['event_id'] === event.eventId);
        if (plan !== 'plain' && !touched && !effects.has(`${group} ${event.eventId}`))
          ledger.breach(`effects: group ${group} is marked to have handled ${ledger.name(event.eventId)} and has had no effect`);
      }
    if (this.history.faults.length === 0) this.checkCalm();
  }

  /** Where nothing has gone wrong, nothing is done twice either. */
  private checkCalm(): void {
    const { ledger } = this;
    const published = ledger.published.size;
    if (this.broker && ledger.publishes !== published)
      ledger.breach(`calm: ${ledger.publishes} publishes of ${published} events, without any fault`);
    if (this.broker?.redeliveries === 0 && ledger.repeated.length > 0)
      ledger.breach(`calm: without any fault twice: ${ledger.repeated.join(', ')}`);
  }

  private consumable(topic: string): { eventId: string }[] {
    return [...this.ledger.committed.values()].filter((event) => event.topic === topic && !this.ledger.steppedAside.has(event.eventId));
  }

  private planOf(eventId: string): string {
    return this.ledger.committed.get(eventId)?.plan ?? 'ok';
  }

  private isThrough(group: string, eventId: string): boolean {
    return this.ledger.handled.has(`${group} ${eventId}`);
  }

  private isParked(group: string, eventId: string): boolean {
    return this.server.storage.all('parked_event').some((row) => row['group_name'] === group && row['event_id'] === eventId);
  }
}
