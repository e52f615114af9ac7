import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { readConfig } from '../../src/config/read-config.js';
import { Database, type Transaction } from '../../src/database/database.js';
import { DatabasePool } from '../../src/database/database-pool.js';
import type { Notifications } from '../../src/database/notifications.js';
import { DeadLetters } from '../../src/messaging/consumer/dead-letters.js';
import { Inbox } from '../../src/messaging/consumer/inbox.js';
import { Parking, type ParkableEvent, type ParkedHead } from '../../src/messaging/consumer/parking.js';
import { LaneLeases } from '../../src/messaging/lane/lane-leases.js';
import { MessagingSettings } from '../../src/messaging/messaging-settings.js';
import { Outbox } from '../../src/messaging/outbox/outbox.js';
import { OutboxTable, type OutboxRow } from '../../src/messaging/outbox/outbox-table.js';
import type { BrokerConnection } from '../../src/messaging/transport/broker-connection.js';
import { PostgresAdapter } from '../../src/messaging/transport/postgres/postgres.adapter.js';
import { createLogger } from '../../src/observability/create-logger.js';
import { ModelServer } from '../simulation/model-server.js';
import type { Values } from '../simulation/postgres-model/tables.js';
import { seeded, VirtualTime } from '../simulation/virtual-time.js';
import { stopServers } from '../support/brokers-under-test.js';
import { eventually, gate } from '../support/eventually.js';
import { freshDatabase, type FreshDatabase } from '../support/fresh-database.js';

/** Times are compared in whole minutes: what a sequence itself takes is far less. */
const MINUTE = 60_000;
const TOPIC = 'model.thing';
const GROUPS = ['one', 'two'];
const KEYS = ['a', 'b', 'c'];
const LANES = 4;
const SEQUENCES = 150;
const PAIRS = 200;

const TABLES = {
  outbox: ['lane', 'id', 'event_id', 'topic', 'type', 'key', 'payload'],
  outbox_parked: ['id', 'lane', 'event_id', 'topic', 'key', 'reason', 'policy'],
  outbox_held_key: ['topic', 'key', 'lane', 'attempts', 'next_attempt_at', 'reason'],
  inbox: ['group_name', 'event_id'],
  parked_key: ['group_name', 'topic', 'key', 'next_attempt_at', 'leased_until', 'epoch'],
  parked_event: ['seq', 'group_name', 'topic', 'key', 'event_id', 'type', 'attempts', 'reason', 'dead_letter_id'],
  dead_letter: [
    'seq',
    'group_name',
    'topic',
    'key',
    'type',
    'event_id',
    'state',
    'reason',
    'error',
    'attempts',
    'replays',
    'discard_reason',
  ],
  lane_lease: ['pool', 'lane', 'owner', 'epoch', 'leased_until'],
  lane_member: ['pool', 'owner', 'seen_until'],
  queued_message: ['id', 'queue', 'lane', 'event_id', 'topic', 'key'],
} as const;

const config = readConfig({
  BROKER: 'postgres',
  DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/nothing',
  LOG_LEVEL: 'silent',
  OUTBOX_LANES: String(LANES),
});
const logger = createLogger(config);
const quiet = { notify: () => undefined, listen: () => () => undefined } as unknown as Notifications;

/** Our classes over one of the two databases, and the means to look at it and to let time pass. */
interface Side {
  readonly pool: DatabasePool;
  readonly database: Database;
  all(table: keyof typeof TABLES): Promise<Values[]>;
  now(): Promise<number>;
  pass(ms: number): Promise<void>;
  /** Waits for a promise, as time passes on this side. */
  end<T>(work: Promise<T>): Promise<T>;
  /** Resolves to whether the work has ended; false once it stands still behind a lock. */
  endsAlone(work: Promise<unknown>): Promise<boolean>;
  clear(): Promise<void>;
}

describe("the simulation's model of PostgreSQL", () => {
  let fresh: FreshDatabase;
  let real: Side;
  let close: () => Promise<void>;
  beforeAll(async () => {
    fresh = await freshDatabase();
    const pool = new DatabasePool(fresh.url, logger);
    const database = new Database(config, fresh.url, logger);
    real = realSide(fresh, pool, database);
    close = async () => {
      await database.onModuleDestroy();
      await pool.onModuleDestroy();
      await fresh.drop();
    };
  });
  afterAll(async () => {
    await close();
    await stopServers();
  });

  it(`answers ${SEQUENCES} sequences of our statements as PostgreSQL does`, async () => {
    let operations = 0;
    const used = new Set<string>();
    for (let seed = 1; seed <= SEQUENCES; seed++) {
      await real.clear();
      const sides = [real, modelSide(seed)].map((side) => new Player(side, seed));
      const random = seeded(seed);
      const done: string[] = [];
      for (let step = 0; step < 24; step++) {
        const operation = WEIGHTED[Math.floor(random() * WEIGHTED.length)] as Operation;
        const choice = [random(), random(), random()] as const;
        done.push(operation.name);
        used.add(operation.name);
        operations++;
        const [wanted, got] = await Promise.all(sides.map((side) => side.play(operation, choice)));
        try {
          expect(got).toEqual(wanted);
        } catch (error) {
          throw new Error(`seed ${seed}, answer of the last of: ${done.join(', ')}\n${(error as Error).message}`, { cause: error });
        }
      }
      const [wanted, got] = await Promise.all(sides.map((side) => side.state()));
      try {
        expect(got).toEqual(wanted);
      } catch (error) {
        throw new Error(`seed ${seed}, tables after: ${done.join(', ')}\n${(error as Error).message}`, { cause: error });
      }
    }
    expect(operations).toBe(SEQUENCES * 24);
    expect([...used].sort()).toEqual(OPERATIONS.map(({ name }) => name).sort());
  }, 300_000);

  it(`lets ${PAIRS} pairs of transactions wait for each other as PostgreSQL does`, async () => {
    let waited = 0;
    for (let seed = 1; seed <= PAIRS; seed++) {
      await real.clear();
      const sides = [real, modelSide(seed)].map((side) => new Player(side, seed));
      const random = seeded(seed * 7919);
      const done: string[] = [];
      for (let step = 0; step < 12; step++) {
        const operation = WEIGHTED[Math.floor(random() * WEIGHTED.length)] as Operation;
        done.push(operation.name);
        const choice = [random(), random(), random()] as const;
        await Promise.all(sides.map((side) => side.play(operation, choice)));
      }
      const held = HELD[Math.floor(random() * HELD.length)] as Operation;
      const beside = BESIDE[Math.floor(random() * BESIDE.length)] as Operation;
      const rolledBack = random() < 0.3;
      const choices = [random(), random(), random(), random(), random(), random()] as const;
      // More often than not the two meet at one key.
      const second = random() < 0.8 ? choices.slice(0, 3) : choices.slice(3);
      done.push(`${held.name} ${rolledBack ? 'rolled back' : 'held'}`, `${beside.name} beside it`);
      const [wanted, got] = await Promise.all(
        sides.map((side) => side.playBoth(held, choices.slice(0, 3) as never, rolledBack, beside, second as never)),
      );
      const states = await Promise.all(sides.map((side) => side.state()));
      if (wanted?.waited) waited++;
      try {
        expect(got).toEqual(wanted);
        expect(states[1]).toEqual(states[0]);
      } catch (error) {
        throw new Error(`seed ${seed}, after: ${done.join(', ')}\n${(error as Error).message}`, { cause: error });
      }
    }
    expect(waited).toBeGreaterThan(10);
  }, 300_000);
});

type Choice = readonly [number, number, number];

interface Operation {
  readonly name: string;
  readonly run: (player: Player, choice: Choice, held?: Database) => Promise<unknown>;
}

/** Plays operations on one side; what it remembers of earlier answers is the same on both. */
class Player {
  readonly heads: ParkedHead[] = [];
  readonly leased: { group: string; topic: string; key: string; epoch: bigint }[] = [];
  readonly rows: OutboxRow[] = [];
  readonly letters: string[] = [];
  readonly inbox: Inbox;
  readonly table: OutboxTable;
  readonly settings = new MessagingSettings(config);
  readonly adapter: PostgresAdapter;
  readonly owners: readonly LaneLeases[];
  readonly outbox: Outbox;
  private count = 0;

  constructor(
    readonly side: Side,
    readonly seed: number,
  ) {
    this.inbox = new Inbox(side.database, side.pool);
    this.table = new OutboxTable(side.pool);
    this.outbox = this.outboxOver(side.database);
    this.adapter = new PostgresAdapter({
      namespace: 'model',
      postgres: { leaseMs: 3 * MINUTE },
      instance: 'a',
      lanes: LANES,
      logger,
      database: side.pool,
      notifications: quiet,
    });
    this.owners = ['a', 'b', 'c'].map(
      (owner) => new LaneLeases(side.pool, { pool: 'outbox', lanes: LANES, owner, leaseMs: 3 * MINUTE, logger, onChange: () => undefined }),
    );
  }

  private outboxOver(database: Database): Outbox {
    return new Outbox(database, quiet, this.settings, { maxMessageBytes: 1_000_000 } as BrokerConnection);
  }

  parking(database: Database = this.side.database): Parking {
    const outbox = database === this.side.database ? this.outbox : this.outboxOver(database);
    return new Parking(database, (tx, letter) => outbox.add(tx, this.record(`${TOPIC}.DLT`, letter.key, `letter of ${letter.eventId}`)));
  }

  deadLetters(database: Database = this.side.database): DeadLetters {
    return new DeadLetters(database, this.parking(database), quiet);
  }

  /** One of a few events, so that they come up again. */
  event([group, key, number]: Choice): ParkableEvent {
    const n = Math.floor(number * 4);
    const name = KEYS[Math.floor(key * KEYS.length)] as string;
    const eventId = idOf(`${this.seed}/${name}/${n}`);
    const payload = Buffer.from(JSON.stringify({ n }));
    return {
      group: GROUPS[Math.floor(group * GROUPS.length)] as string,
      topic: TOPIC,
      key: name,
      eventId,
      headers: { ce_id: eventId, ce_type: 'model.thing.happened', ce_source: 'urn:model', ce_partitionkey: name },
      payload,
    };
  }

  record(topic: string, key: string, text: string) {
    const eventId = idOf(`${this.seed}/record/${this.count++}`);
    return { eventId, topic, type: 'model.thing.happened', key, headers: { ce_id: eventId }, payload: JSON.stringify(text) };
  }

  pick<T>(list: readonly T[], choice: number): T | undefined {
    return list[Math.floor(choice * list.length)];
  }

  async openLetters(): Promise<string[]> {
    const rows = await this.side.all('dead_letter');
    return rows.sort((a, b) => Number(a['seq']) - Number(b['seq'])).map(({ id }) => id as string);
  }

  async play(operation: Operation, choice: Choice): Promise<unknown> {
    try {
      return plain(await this.side.end(operation.run(this, choice)));
    } catch (error) {
      return { error: (error as Error).constructor.name };
    }
  }

  /** One transaction is held open before its end, another operation comes, then the first ends. */
  async playBoth(
    held: Operation,
    choice: Choice,
    rolledBack: boolean,
    beside: Operation,
    second: Choice,
  ): Promise<{ waited: boolean; answers: unknown[] }> {
    const here = gate();
    const goOn = gate();
    // What would travel with the COMMIT goes before the halt, so that the halted transaction holds what it locks.
    const last: [text: string, values: readonly unknown[]][] = [];
    const database = new Proxy(this.side.database, {
      get: (target, name) => {
        if (name === 'atCommit') return (_: Transaction, text: string, values: readonly unknown[]) => void last.push([text, values]);
        if (name !== 'transaction') return Reflect.get(target, name) as unknown;
        return async (work: (tx: Transaction) => Promise<unknown>) =>
          target.transaction(async (tx) => {
            const result = await work(tx);
            target.beforeCommit(tx, async () => {
              for (const [text, values] of last.splice(0)) await target.query(tx, text, values);
              here.open();
              await goOn.opened;
              if (rolledBack) throw new Error('rolled back');
            });
            return result;
          });
      },
    });
    const tell = async (work: Promise<unknown>): Promise<unknown> => {
      try {
        return plain(await work);
      } catch (error) {
        return { error: (error as Error).constructor.name };
      }
    };
    const first = tell(held.run(this, choice, database));
    await this.side.end(Promise.race([here.opened, first]));
    const other = tell(beside.run(this, second));
    const waited = !(await this.side.endsAlone(other));
    goOn.open();
    const answers = await this.side.end(Promise.all([first, other]));
    return { waited, answers };
  }

  /** Every table, with ids by their order of age and times in minutes from now. */
  async state(): Promise<Record<string, Values[]>> {
    const now = await this.side.now();
    const state: Record<string, Values[]> = {};
    for (const [table, columns] of Object.entries(TABLES) as [keyof typeof TABLES, readonly string[]][]) {
      const [first] = columns as [string];
      const sequenced = first === 'id' || first === 'seq' || table === 'outbox';
      const order = table === 'outbox' ? 'id' : first;
      const rows = await this.side.all(table);
      const sorted = sequenced ? rows.sort((a, b) => Number(a[order]) - Number(b[order])) : rows;
      const picked = sorted.map((row) => {
        const values: Values = {};
        for (const column of columns) {
          const value = row[column];
          if (column === order && sequenced) continue;
          if (value instanceof Date)
            values[column] = Math.round((value.getTime() - now) / MINUTE) + 0; // no minus zero
          else if (column === 'dead_letter_id') values[column] = value !== null;
          else values[column] = plain(value);
        }
        return values;
      });
      state[table] = sequenced ? picked : picked.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
    }
    return state;
  }
}

const OPERATIONS: readonly Operation[] = [
  { name: 'park', run: (player, choice, database) => player.parking(database).park(player.event(choice), 1, minutes(choice[0]), 'failed') },
  { name: 'parkBehind', run: (player, choice, database) => player.parking(database).parkBehind(player.event(choice)) },
  {
    name: 'deadLetter',
    run: (player, choice, database) => player.parking(database).deadLetter(player.event(choice), 1, 'malformed', 'no event'),
  },
  {
    name: 'claim',
    run: async (player, [number]) => {
      const keys = await player.parking().claim(GROUPS, 1 + Math.floor(number * 3), 2 * MINUTE);
      const sorted = keys.sort((a, b) => (`${a.group} ${a.key}` < `${b.group} ${b.key}` ? -1 : 1));
      player.leased.push(...sorted);
      return sorted;
    },
  },
  {
    name: 'head',
    run: async (player, [number]) => {
      const key = player.pick(player.leased, number);
      const head = key && (await player.parking().head(key));
      if (head) player.heads.push(head);
      return head && { ...head, seq: undefined, deadLetterId: head.deadLetterId !== null };
    },
  },
  { name: 'renew', run: (player) => player.parking().renew(player.leased.slice(0, 3), 4 * MINUTE) },
  {
    name: 'release',
    run: async (player, [number]) => {
      const key = player.pick(player.leased, number);
      if (key) await player.parking().release(key);
    },
  },
  {
    name: 'succeeded',
    run: async (player, [number], database) => {
      const head = player.pick(player.heads, number);
      return head && player.parking(database).succeeded(head);
    },
  },
  {
    name: 'failed',
    run: async (player, [number], database) => {
      const head = player.pick(player.heads, number);
      return head && player.parking(database).failed(head, head.attempts + 1, MINUTE, 'failed again');
    },
  },
  {
    name: 'exhausted',
    run: async (player, [number], database) => {
      const head = player.pick(player.heads, number);
      return head && player.parking(database).exhausted(head, head.attempts + 1, 'attempts_exhausted', 'failed for good');
    },
  },
  {
    name: 'replay',
    run: async (player, [number], database) => {
      const id = player.pick(await player.openLetters(), number);
      if (id !== undefined) await player.deadLetters(database).replay(id);
    },
  },
  {
    name: 'discard',
    run: async (player, [number], database) => {
      const id = player.pick(await player.openLetters(), number);
      if (id !== undefined) await player.deadLetters(database).discard(id, 'no use');
    },
  },
  {
    name: 'replayAll',
    run: (player, [group], database) => player.deadLetters(database).replayAll({ group: GROUPS[Math.floor(group * 2)] as string }),
  },
  {
    name: 'mark',
    run: (player, choice, database) =>
      (database ?? player.side.database)
        .transaction((tx) => {
          player.inbox.markAhead(tx, player.event(choice).group, [player.event(choice).eventId], () => {
            throw new Error('marked before');
          });
          return Promise.resolve('new');
        })
        .catch((error: Error) => {
          if (error.message !== 'marked before') throw error;
          return error.message;
        }),
  },
  { name: 'markNow', run: (player, choice) => player.inbox.markNow(player.event(choice).group, [player.event(choice).eventId]) },
  {
    name: 'markAll',
    run: (player, choice, database) =>
      (database ?? player.side.database).transaction((tx) =>
        player.inbox.markAll(tx, player.event(choice).group, [player.event(choice).eventId]),
      ),
  },
  { name: 'has', run: (player, choice) => player.inbox.has(player.event(choice).group, player.event(choice).eventId) },
  {
    name: 'standing',
    run: (player, choice) => {
      const { group, topic, key, eventId } = player.event(choice);
      const other = player.event([choice[2], choice[1], choice[0]]);
      return Promise.all([
        player.inbox.standing(group, topic, key, eventId),
        player.inbox.standing(other.group, topic, other.key, other.eventId),
      ]);
    },
  },
  {
    name: 'emit',
    run: (player, [first, second, third], database) =>
      (database ?? player.side.database).transaction((tx) => {
        for (const [index, choice] of [first, second].entries())
          player.outbox.add(
            tx,
            player.record(third < 0.8 ? TOPIC : 'model.unknown', KEYS[Math.floor(choice * KEYS.length)] as string, `event ${index}`),
          );
        return Promise.resolve();
      }),
  },
  {
    name: 'read',
    run: async (player, [limit, lane, held]) => {
      const lanes = [0, 1, 2, 3].slice(Math.floor(lane * 3));
      const inHand = held < 0.5 ? player.rows.slice(0, 2).map(({ id }) => id) : [];
      const rows = await player.table.read(
        lanes,
        lanes.map((of) => (of === 1 && held > 0.9 ? '1000000' : '0')),
        1 + Math.floor(limit * 8),
        inHand,
        held < 0.3 ? [`${TOPIC}:a`] : [],
      );
      player.rows.splice(0, player.rows.length, ...rows);
      return rows.map(({ lane: of, eventId, topic, key, payload }) => ({ of, eventId, topic, key, text: payload.toString() }));
    },
  },
  {
    name: 'delete',
    run: (player, [number]) =>
      player.table.delete(
        player.rows.filter((_, index) => index % 2 === Math.floor(number * 2)),
        undefined,
      ),
  },
  {
    name: 'readUndeclared',
    run: async (player) => (await player.table.readUndeclared([0, 1, 2, 3], [TOPIC], [`${TOPIC}:a`])).map(({ eventId }) => eventId),
  },
  {
    name: 'hold',
    run: async (player, [number, delay]) => {
      const row = player.pick(player.rows, number);
      if (row) await player.table.hold(row, 1 + Math.floor(delay * 3), minutes(delay), 'refused');
    },
  },
  { name: 'unhold', run: (player, [key]) => player.table.unhold(`${TOPIC}:${KEYS[Math.floor(key * KEYS.length)] as string}`) },
  {
    name: 'heldKeys',
    run: async (player) => {
      const held = (await player.table.heldKeys()).map((row) => ({ ...row, waitMs: Math.round(row.waitMs / MINUTE) + 0 }));
      return { held: held.sort((a, b) => (a.held < b.held ? -1 : 1)), parked: (await player.table.parkedKeys()).sort() };
    },
  },
  {
    name: 'parkRow',
    run: async (player, [number, policy, owner]) => {
      const row = player.pick(player.rows, number);
      return row && player.table.park(row, policy < 0.5 ? 'park' : 'skip', 'refused', ['a', 'b', 'c'][Math.floor(owner * 3)] as string);
    },
  },
  { name: 'followParked', run: (player, [owner]) => player.table.followParked(['a', 'b', 'c'][Math.floor(owner * 3)] as string) },
  {
    name: 'lease',
    run: async (player, [number]) => {
      const leases = player.owners[Math.floor(number * 3)] as LaneLeases;
      await (leases as unknown as { renew(): Promise<void> }).renew();
      return leases.owned().sort((a, b) => a - b);
    },
  },
  {
    name: 'giveBack',
    run: async (player, [number]) => {
      if (number < 0.5) await player.owners[Math.floor(number * 6)]?.stop();
    },
  },
  {
    name: 'move',
    run: async (player, [limit, lane]) => {
      if (limit < 0.2)
        await player.adapter.open({ topics: [TOPIC], deadLetterTopics: [], subscriptions: [{ group: 'one', topic: TOPIC }] });
      const result = await player.adapter.moveOutbox({
        lanes: [0, 1, 2, 3].slice(Math.floor(lane * 3)),
        lows: [0, 1, 2, 3].slice(Math.floor(lane * 3)).map((of) => (of === 1 && limit > 0.9 ? '1000000' : '0')),
        topics: [TOPIC],
        heldKeys: lane < 0.3 ? [`${TOPIC}:b`] : [],
        limit: 1 + Math.floor(limit * 8),
      });
      return [...result];
    },
  },
  {
    name: 'publish',
    run: async (player, [key, other]) => {
      const messages = [key, other]
        .map((choice) => player.record(TOPIC, KEYS[Math.floor(choice * KEYS.length)] as string, 'direct'))
        .map((record) => ({ ...record, payload: Buffer.from(record.payload) }));
      return (await player.adapter.publish(messages)).length;
    },
  },
  { name: 'pass', run: (player, [number]) => player.side.pass(Math.floor(number * 4) * MINUTE) },
];

/** Those that others build on come up more often. */
const WEIGHTED = [
  ...OPERATIONS,
  ...OPERATIONS.filter(({ name }) => ['park', 'claim', 'head', 'deadLetter', 'emit', 'read', 'pass', 'lease'].includes(name)),
  ...OPERATIONS.filter(({ name }) => ['park', 'claim', 'head', 'emit'].includes(name)),
];

/** Those that can be held open before their commit. */
const HELD = OPERATIONS.filter(({ name }) =>
  ['park', 'parkBehind', 'deadLetter', 'succeeded', 'failed', 'exhausted', 'replay', 'discard', 'replayAll', 'mark', 'emit'].includes(name),
);
const BESIDE = [
  ...HELD,
  ...HELD,
  ...OPERATIONS.filter(({ name }) =>
    ['claim', 'renew', 'release', 'markNow', 'head', 'standing', 'read', 'move', 'publish'].includes(name),
  ),
];

function realSide(fresh: FreshDatabase, pool: DatabasePool, database: Database): Side {
  return {
    pool,
    database,
    all: (table) => fresh.query<Values>(`SELECT * FROM ${table}`),
    now: async () => ((await fresh.query<{ now: Date }>('SELECT now() AS now'))[0] as { now: Date }).now.getTime(),
    // Time cannot be made to pass there; what it is compared with is moved instead.
    pass: async (ms) => {
      for (const [table, columns] of [
        ['outbox_held_key', ['next_attempt_at']],
        ['parked_key', ['next_attempt_at', 'leased_until']],
        ['lane_lease', ['leased_until']],
        ['lane_member', ['seen_until']],
      ] as const)
        for (const column of columns) await fresh.query(`UPDATE ${table} SET ${column} = ${column} - $1 * interval '1 ms'`, [ms]);
    },
    end: (work) => work,
    endsAlone: async (work) => {
      let done = false;
      void work.finally(() => (done = true));
      return eventually(async () => {
        const rows = await fresh.query(
          `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND state = 'active'`,
        );
        await new Promise((resolve) => setImmediate(resolve));
        if (!done && rows.length === 0) throw new Error('neither done nor waiting');
        return done;
      });
    },
    clear: async () => {
      await fresh.query(`TRUNCATE ${Object.keys(TABLES).join(', ')} RESTART IDENTITY`);
    },
  };
}

function modelSide(seed: number): Side {
  const time = new VirtualTime(seeded(seed));
  const server = new ModelServer(time, seeded(seed), MINUTE);
  time.now = 1000 * MINUTE;
  return {
    pool: server.pool(),
    database: server.database(MINUTE),
    all: (table) => Promise.resolve(server.storage.all(table).map((row) => withDates(table, row, server))),
    now: () => Promise.resolve(time.now),
    pass: (ms) => {
      time.now += ms;
      return Promise.resolve();
    },
    end: async (work) => {
      let done = false;
      work.then(
        () => (done = true),
        () => (done = true),
      );
      await time.until(() => done, time.now + 10_000);
      return work;
    },
    endsAlone: async (work) => {
      let done = false;
      void work.finally(() => (done = true));
      return time.until(() => done, time.now + 1000);
    },
    clear: () => Promise.resolve(),
  };
}

function withDates(table: string, row: Values, server: ModelServer): Values {
  const columns = server.storage.tables.get(table)?.columns;
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      columns?.get(name)?.type === 'timestamptz' && value !== null ? new Date(value as number) : value,
    ]),
  );
}

function minutes(choice: number): number {
  return Math.floor(choice * 3) * MINUTE;
}

const ids = new Map<string, string>();
function idOf(name: string): string {
  let id = ids.get(name);
  if (id === undefined) ids.set(name, (id = randomUUID()));
  return id;
}

/** Without the types that differ by driver. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8');
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Date) return value.getTime();
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, plain(entry)]));
  if (typeof value === 'string' && /^\d+$/.test(value)) return Number(value);
  return value;
}
