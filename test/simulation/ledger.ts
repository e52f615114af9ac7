import type { Change, Storage, Values } from './postgres-model/tables.js';
import { EFFECTS } from './model-server.js';

export interface CommittedEvent {
  readonly eventId: string;
  readonly topic: string;
  readonly key: string;
  readonly type: string;
  /** Its place among the commits of its topic and key. */
  readonly place: number;
  /** What its handlers do, where it says so. */
  readonly plan: string;
}

/** What became of one event in one group since it came, or since it was replayed last. */
interface Attempts {
  failures: number;
  /** By attempt, when its first failure was. */
  readonly failedAt: Map<number, number>;
  readonly begun: Set<number>;
}

/** A promise that was broken, and where. */
export class BrokenPromiseError extends Error {
  override readonly name = 'BrokenPromiseError';
}

/** What has truly happened, told by the database's commits and the broker's storage; checks the promises as it goes. */
export class Ledger {
  readonly committed = new Map<string, CommittedEvent>();
  /** By topic and key, in the order of the commits. */
  readonly order = new Map<string, CommittedEvent[]>();
  readonly published = new Set<string>();
  readonly steppedAside = new Map<string, string>();
  /** Events that the broker has refused. */
  readonly refused = new Set<string>();
  readonly handled = new Set<string>();
  readonly broken: string[] = [];
  readonly attempts = new Map<string, Attempts>();
  /** What a group has its dead letter for, by the event's id; an edited one goes by its own. */
  readonly originals = new Map<string, string>();
  readonly trace: string[] = [];
  /** What kinds of things have come up, to see that the histories are worth their name. */
  readonly happened = new Set<string>();
  /** Attempts that were made more than once. */
  readonly repeated: string[] = [];
  publishes = 0;
  calls = 0;

  constructor(
    private readonly storage: Storage,
    private readonly brokerIsDatabase: boolean,
    private readonly now: () => number,
    private readonly consumed: (topic: string) => readonly string[],
    private readonly leastDelay: (failures: number) => number,
  ) {
    storage.onCommit = (changes) => this.commit(changes);
  }

  note(text: string): void {
    this.trace.push(`${this.now().toFixed(0)} ${text}`);
  }

  breach(text: string): void {
    this.broken.push(`at ${this.now().toFixed(0)} ms: ${text}`);
    this.note(`BROKEN ${text}`);
  }

  /** The broker has stored a message for all of its groups. */
  store(eventId: string, topic: string, key: string): void {
    this.publishes++;
    this.note(`stored ${this.name(eventId)}`);
    const event = this.committed.get(eventId);
    if (!event) return this.breach(`invented: event ${eventId} was published and never committed`);
    if (this.published.has(eventId)) {
      this.happened.add('published again');
      return;
    }
    for (const earlier of this.order.get(orderOf(topic, key))?.slice(0, event.place) ?? [])
      if (!this.published.has(earlier.eventId) && this.steppedAside.get(earlier.eventId) !== 'skip')
        this.breach(`order at the broker: ${this.name(eventId)} came before ${this.name(earlier.eventId)}`);
    this.published.add(eventId);
  }

  /** A handler begins. */
  begin(group: string, ordered: boolean, eventId: string, attempt: number): void {
    this.calls++;
    const original = this.originals.get(`${group} ${eventId}`) ?? eventId;
    this.note(`${group} attempt ${attempt} at ${this.name(original)}`);
    const event = this.committed.get(original);
    if (!event) return this.breach(`invented: group ${group} was given event ${eventId}, which was never committed`);
    const count = this.attemptsOf(group, eventId);
    if (attempt > count.failures + 1)
      this.breach(
        `attempts: group ${group} is at attempt ${attempt} of ${this.name(original)}, which has failed ${count.failures} times; something else was counted`,
      );
    if (count.begun.has(attempt)) this.repeated.push(`${group} attempt ${attempt} at ${this.name(original)}`);
    count.begun.add(attempt);
    const failedAt = count.failedAt.get(attempt - 1);
    if (failedAt !== undefined && this.now() < failedAt + this.leastDelay(attempt - 1))
      this.breach(
        `backoff: group ${group} is at attempt ${attempt} of ${this.name(original)} ${Math.round(this.now() - failedAt)} ms after the one before`,
      );
    if (attempt > 1) this.happened.add('tried again');
    if (!ordered) return;
    for (const earlier of this.order.get(orderOf(event.topic, event.key))?.slice(0, event.place) ?? [])
      if (!this.handled.has(`${group} ${earlier.eventId}`) && !this.steppedAside.has(earlier.eventId))
        this.breach(`order in group ${group}: ${this.name(original)} was handled before ${this.name(earlier.eventId)} was through`);
  }

  fail(group: string, eventId: string, attempt: number): void {
    const count = this.attemptsOf(group, eventId);
    count.failures++;
    if (!count.failedAt.has(attempt)) count.failedAt.set(attempt, this.now());
  }

  attemptsOf(group: string, eventId: string): Attempts {
    const id = `${group} ${eventId}`;
    let found = this.attempts.get(id);
    if (!found) this.attempts.set(id, (found = freshAttempts()));
    return found;
  }

  /** A delivery was declared settled: its event must be safe in the database by now. */
  settle(group: string, eventId: string): void {
    const has = (table: string): boolean =>
      this.storage.all(table).some((row) => row['group_name'] === group && row['event_id'] === eventId);
    if (!['inbox', 'parked_event', 'dead_letter'].some(has))
      this.breach(`acknowledged too early: group ${group} has settled ${this.name(eventId)}, which is neither handled nor parked`);
  }

  name(eventId: string): string {
    const event = this.committed.get(eventId);
    return event ? `${event.topic}/${event.key}#${event.place} (${event.type.split('.').at(-1)} ${eventId.slice(-4)})` : eventId;
  }

  private commit(changes: readonly Change[]): void {
    const added = changes.filter(({ table, before, after }) => table === 'outbox' && !before && after).map(({ after }) => after as Values);
    for (const row of added.sort((a, b) => Number(a['id']) - Number(b['id']))) {
      const [eventId, topic, key, type] = [row['event_id'], row['topic'], row['key'], row['type']] as [string, string, string, string];
      const list = this.order.get(orderOf(topic, key)) ?? [];
      const plan = (JSON.parse(row['payload'] as string) as { plan?: string }).plan?.split(' ')[0] ?? 'ok';
      const event = { eventId, topic, key, type, place: list.length, plan };
      this.committed.set(eventId, event);
      this.order.set(orderOf(topic, key), [...list, event]);
      this.note(`committed ${this.name(eventId)} as row ${String(row['id'])}`);
    }
    const queued = changes
      .filter(({ table, before, after }) => table === 'queued_message' && !before && after)
      .map(({ after }) => after as Values);
    const aside = changes
      .filter(({ table, before, after }) => table === 'outbox_parked' && !before && after)
      .map(({ after }) => after as Values);
    for (const row of aside.sort((a, b) => Number(a['id']) - Number(b['id']))) this.stepAside(row);
    for (const row of queued.sort((a, b) => Number(a['id']) - Number(b['id'])))
      this.store(row['event_id'] as string, row['topic'] as string, row['key'] as string);
    for (const { table, before, after } of changes) {
      const row = (after ?? before) as Values;
      const eventId = row['event_id'] as string;
      const group = row['group_name'] as string;
      if (table === 'inbox' && after) {
        this.handled.add(`${group} ${eventId}`);
        this.note(`${group} has handled ${this.name(this.originals.get(`${group} ${eventId}`) ?? eventId)}`);
      }
      if (table === 'dead_letter' && after && (!before || before['state'] !== after['state'])) {
        this.note(
          `${group} dead letter ${this.name(eventId)}: ${String(after['state'])} (${String(after['reason'])}, ${String(after['attempts'])} attempts)`,
        );
        this.happened.add(`dead letter ${String(after['state'])}`);
        if (after['state'] === 'open' && this.handled.has(`${group} ${eventId}`))
          this.breach(`dead letter: group ${group} gave up ${this.name(eventId)}, which it has handled`);
      }
      if (table === 'parked_event' && !before && after) {
        this.note(`${group} parked ${this.name(eventId)}`);
        this.happened.add(row['attempts'] === 0 ? 'parked behind another' : 'parked after a failure');
        if (row['dead_letter_id'] !== null) {
          const letter = this.storage.all('dead_letter').find(({ id }) => id === row['dead_letter_id']);
          const original = (letter?.['event_id'] as string | undefined) ?? eventId;
          if (original !== eventId) {
            this.originals.set(`${group} ${eventId}`, original);
            this.happened.add('replayed with other data');
          }
          this.attempts.set(`${group} ${eventId}`, freshAttempts());
        }
      }
      if (table === 'outbox' && before && !after && !this.steppedAside.has(eventId)) {
        this.note(`deleted ${this.name(eventId)}`);
        const safe = this.brokerIsDatabase
          ? queued.filter((entry) => entry['event_id'] === eventId).length === this.consumed(row['topic'] as string).length
          : this.published.has(eventId);
        if (!safe) this.breach(`lost: ${this.name(eventId)} left the outbox and is not at the broker`);
      }
      if (table === 'queued_message' && before && !after) this.settle((row['queue'] as string).split('.')[1] as string, eventId);
    }
  }

  private stepAside(row: Values): void {
    const [eventId, topic, key, policy] = [row['event_id'], row['topic'], row['key'], row['policy']] as [string, string, string, string];
    const follows =
      policy === 'park' && (this.order.get(orderOf(topic, key)) ?? []).some((event) => this.steppedAside.get(event.eventId) === 'park');
    this.steppedAside.set(eventId, policy);
    this.note(`stepped aside: ${this.name(eventId)}`);
    this.happened.add(`stepped aside by ${policy}`);
    if (!follows && !this.refused.has(eventId)) this.breach(`stepped aside without a refusal: ${this.name(eventId)}`);
  }

  /** How many effects each group has had of each event. */
  effects(): Map<string, number> {
    const effects = new Map<string, number>();
    for (const { group_name: group, event_id: eventId } of this.storage.all(EFFECTS)) {
      const id = `${String(group)} ${String(eventId)}`;
      effects.set(id, (effects.get(id) ?? 0) + 1);
    }
    return effects;
  }
}

function freshAttempts(): Attempts {
  return { failures: 0, failedAt: new Map(), begun: new Set() };
}

function orderOf(topic: string, key: string): string {
  return `${topic}\u0000${key}`;
}
