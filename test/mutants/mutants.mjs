// @ts-check

/**
 * @typedef {object} Edit
 * @property {string} file
 * @property {string} search must be found exactly once
 * @property {string} replace
 *
 * @typedef {object} Mutant A defect that somebody could put into the code, and by what it is noticed.
 * @property {string} name
 * @property {string} defect
 * @property {Edit[]} edits
 * @property {Selection} run the smallest part of the suite that is known to notice
 * @property {RegExp} caughtBy must match the name or the message of a test that fails
 *
 * @typedef {object} Selection
 * @property {string} project of Jest
 * @property {string} [files] pattern of test files
 * @property {string} [tests] pattern of test names
 * @property {import('../../scripts/servers/index.mjs').ServerName[]} [servers]
 */

/** @type {Selection} */
const simulation = { project: 'simulation', files: 'simulation.spec' };

/** @type {Selection} */
const fences = { project: 'simulation', files: 'fences.spec' };

const relay = 'src/messaging/outbox/relay.ts';
const outboxTable = 'src/messaging/outbox/outbox-table.ts';
const outbox = 'src/messaging/outbox/outbox.ts';
const leases = 'src/messaging/lane/lane-leases.ts';
const parking = 'src/messaging/consumer/parking.ts';
const runner = 'src/messaging/consumer/message-runner.ts';
const attempt = 'src/messaging/consumer/attempt.ts';
const letters = 'src/messaging/consumer/dead-letters.ts';
const lowWater = 'src/messaging/lane/low-water.ts';
const postgresQueue = 'src/messaging/transport/postgres/postgres.subscription.ts';
const pipeline = 'src/database/pipeline.ts';
const lineUp = 'src/database/line-up.ts';
const transactionPool = 'src/database/transaction-pool.ts';

/** @type {readonly Mutant[]} */
export const mutants = [
  {
    name: 'delete-before-publish',
    defect: 'rows leave the outbox before the broker has them',
    edits: [
      {
        file: relay,
        search: 'const { done, refused, trouble } = await this.publish(rows);',
        replace: 'await this.table.delete(rows, groups);\n        const { done, refused, trouble } = await this.publish(rows);',
      },
    ],
    run: simulation,
    caughtBy: /lost: .* left the outbox and is not at the broker/,
  },
  {
    name: 'no-inbox',
    defect: 'nobody looks whether an event was handled before',
    edits: [
      {
        file: attempt,
        search: 'duplicate = true;\n          throw new AlreadyHandledError(`${name}: handled by group ${group} before`);',
        replace: 'return undefined as never;',
      },
      { file: runner, search: 'if (standing.done) return this.recognised(event);', replace: '' },
    ],
    run: simulation,
    caughtBy: /effects: \d+ of|was handled before/,
  },
  {
    name: 'id-cursor',
    defect: 'the relay reads on from the last id that it has seen',
    edits: [
      {
        file: outboxTable,
        search: '  constructor(private readonly database: DatabasePool) {}',
        replace: '  private seen = 0;\n  constructor(private readonly database: DatabasePool) {}',
      },
      {
        file: outboxTable,
        search: '      [lanes, lows, perLane, arrayOf(inHand), held],\n    );',
        replace:
          '      [lanes, lows.map((low) => String(Math.max(Number(low), this.seen + 1))), perLane, arrayOf(inHand), held],\n    );\n    this.seen = Math.max(this.seen, ...rows.map(({ id }) => Number(id)));',
      },
    ],
    run: simulation,
    caughtBy: /not quiet|order at the broker/,
  },
  {
    name: 'acknowledge-before-commit',
    defect: 'the broker is told that an event is handled before it is',
    edits: [
      {
        file: runner,
        search: '    return this.executor.run(event.key, async () => {',
        replace:
          "    if (performance.now() > 0) {\n      void this.executor.run(event.key, () => this.settle(event, message.undeliverable, this.interrupt.signal));\n      return Promise.resolve('settled');\n    }\n    return this.executor.run(event.key, async () => {",
      },
    ],
    run: simulation,
    caughtBy: /acknowledged too early/,
  },
  {
    name: 'ignore-failed-entries',
    defect: "SQS's answer is not looked through for entries that failed",
    edits: [
      {
        file: 'src/messaging/transport/sqs/sqs.queue-sender.ts',
        search: '    for (const { Id: id, SenderFault',
        replace:
          '    failed.length = 0;\n    for (const link of batch.slice(successful.length)) unanswered.delete(String(batch.indexOf(link)));\n    for (const { Id: id, SenderFault',
      },
    ],
    run: { project: 'unit', files: 'sqs.queue-sender' },
    caughtBy: /failed entries|stays in the outbox/,
  },
  {
    name: 'inbox-outside-transaction',
    defect: 'the mark that an event is handled commits before its effect',
    edits: [
      {
        file: attempt,
        search: 'mark(() => {\n          duplicate = true;',
        replace:
          'const refuse = (): never => {\n          duplicate = true;\n          throw new AlreadyHandledError(name);\n        };\n        if (await inbox.has(group, event.id)) refuse();\n        await inbox.markNow(group, eventIds);\n        void (() => {\n          duplicate = true;',
      },
    ],
    run: simulation,
    caughtBy: /has had no effect/,
  },
  {
    name: 'no-advisory-lock',
    defect: 'two transactions of one key may take ids in one order and commit in the other',
    edits: [
      {
        file: outbox,
        search: 'SELECT pg_advisory_xact_lock($1::int, bucket) FROM unnest',
        replace: 'SELECT $1::int + bucket FROM unnest',
      },
      { file: outbox, search: 'SELECT pg_advisory_xact_lock($1::int, $2::int)', replace: 'SELECT $1::int + $2::int' },
    ],
    run: simulation,
    caughtBy: /order at the broker|order in group/,
  },
  {
    name: 'delete-range',
    defect: 'all rows up to the last published one are deleted',
    edits: [
      {
        file: outboxTable,
        search: 'WHERE outbox.lane = done.lane AND outbox.id = done.id',
        replace: 'WHERE outbox.lane = done.lane AND outbox.id <= done.id',
      },
    ],
    run: simulation,
    caughtBy: /lost: .* left the outbox and is not at the broker/,
  },
  {
    name: 'failed-key-goes-on',
    defect: 'a refused event does not hold up the later ones of its key',
    edits: [
      {
        file: relay,
        search: '      } else if (!failed.has(key)) refused.push({ row, error });\n      failed.add(key);',
        replace: '      } else if (!failed.has(key)) refused.push({ row, error });',
      },
      {
        file: relay,
        search: 'return [...[...this.holds].filter(([, hold]) => hold.until > now).map(([key]) => key), ...this.parked];',
        replace: 'return now < 0 ? [] : [...this.parked];',
      },
      {
        file: relay,
        search: 'const leftOut = [stopped, this.holds, this.parked]',
        replace: 'const leftOut: Set<string>[] = []',
      },
    ],
    run: simulation,
    caughtBy: /order at the broker/,
  },
  {
    name: 'read-ahead-overtakes',
    defect: 'what was read ahead of a key goes out although an event before it was refused',
    edits: [{ file: relay, search: 'const leftOut = [stopped, ', replace: 'const leftOut = [' }],
    run: simulation,
    caughtBy: /order at the broker/,
  },
  {
    name: 'holds-not-read',
    defect: 'a relay that takes lanes does not ask which keys are parked there',
    edits: [{ file: relay, search: 'if (this.holdsReadAt < this.laneChanges) await this.refreshHolds();', replace: '' }],
    run: simulation,
    caughtBy: /order at the broker/,
  },
  {
    name: 'outage-parks',
    defect: "the broker's absence counts as the refusal of an event",
    edits: [{ file: relay, search: 'if (!(error instanceof MessageRejectedError)) {', replace: 'if (error === undefined) {' }],
    run: simulation,
    caughtBy: /stepped aside without a refusal/,
  },
  {
    name: 'relay-park-unfenced',
    defect: 'a relay that was frozen past its lease parks what another has published',
    edits: [
      {
        file: outboxTable,
        search: "WHERE pool = 'outbox' AND lane = $1 AND owner = $2 AND leased_until > now()),",
        replace: "WHERE pool = 'outbox' AND lane = $1 AND $2::text IS NOT NULL),",
      },
    ],
    run: fences,
    caughtBy: /fence|lease/,
  },
  {
    name: 'lease-for-ever',
    defect: 'an instance takes lanes that another one still leases',
    edits: [
      {
        file: leases,
        search: 'AND (owner IS NULL OR leased_until < now()) ORDER BY lane',
        replace: 'AND (owner IS NULL OR owner <> $2) ORDER BY lane',
      },
    ],
    run: simulation,
    caughtBy: /an owner that renews keeps its lanes|calm: \d+ publishes/,
  },
  {
    name: 'lease-not-renewed',
    defect: 'leases run out while their owner is at work',
    edits: [
      {
        file: leases,
        search: "`UPDATE lane_lease SET leased_until = now() + $3 * interval '1 ms' WHERE pool = $1 AND owner = $2 RETURNING lane`",
        replace: "`UPDATE lane_lease SET leased_until = leased_until + $3 * interval '0 ms' WHERE pool = $1 AND owner = $2 RETURNING lane`",
      },
    ],
    run: fences,
    caughtBy: /an owner that renews keeps its lanes/,
  },
  {
    name: 'lease-trusted',
    defect: 'lanes are worked on although their lease could not be renewed in time',
    edits: [{ file: leases, search: 'if (performance.now() > this.validUntil) return [];', replace: '' }],
    run: fences,
    caughtBy: /could not be renewed/,
  },
  {
    name: 'lane-of-nothing',
    defect: "a key's events are spread over the lanes",
    edits: [
      {
        file: outbox,
        search: 'hash % this.settings.lanes',
        replace: 'keyHash(eventId) % this.settings.lanes',
      },
    ],
    run: simulation,
    caughtBy: /order at the broker/,
  },
  {
    name: 'executor-without-keys',
    defect: 'events of one key run side by side',
    edits: [
      {
        file: 'src/messaging/consumer/keyed-executor.ts',
        search: 'const before = this.tails.get(key) ?? Promise.resolve();',
        replace: 'const before = Promise.resolve();',
      },
    ],
    run: simulation,
    caughtBy: /order in group/,
  },
  {
    name: 'held-key-ignored',
    defect: 'an event is handled although an earlier one of its key is parked',
    edits: [
      {
        file: runner,
        search: 'if (standing.held && (await parking.parkBehind(event))) {',
        replace: 'if (standing.held && event.key === undefined) {',
      },
    ],
    run: simulation,
    caughtBy: /order in group/,
  },
  {
    name: 'park-without-lock',
    defect: 'parking behind a key does not keep others from releasing it',
    edits: [
      {
        file: parking,
        search: 'AND key = ${key.key} FOR UPDATE`;\n    return rows.length > 0;\n  }\n\n  private async isDone',
        replace: 'AND key = ${key.key}`;\n    return rows.length > 0;\n  }\n\n  private async isDone',
      },
    ],
    run: simulation,
    caughtBy: /not quiet|order in group/,
  },
  {
    name: 'outage-counts',
    defect: "the database's absence counts as an attempt",
    edits: [
      {
        file: runner,
        search: "if (outcome.kind === 'failed' && (await this.isOutage(outcome.error))) throw outcome.error;",
        replace: 'void this.isOutage;',
      },
    ],
    run: simulation,
    caughtBy: /attempts: .* something else was counted/,
  },
  {
    name: 'interrupted-counts',
    defect: 'a shutdown in the middle of a handler counts as an attempt',
    edits: [
      { file: attempt, search: "if (outcome.kind === 'failed' && signal.aborted) return { kind: 'interrupted' };", replace: '' },
      {
        file: attempt,
        search: "giveUp({ kind: 'interrupted' }, signal.reason as Error)",
        replace: "giveUp({ kind: 'failed', error: signal.reason }, signal.reason as Error)",
      },
    ],
    run: simulation,
    caughtBy: /attempts: .* something else was counted/,
  },
  {
    name: 'zombie-commits',
    defect: 'a handler that comes back after its time still commits',
    edits: [
      {
        file: attempt,
        search: "    if (state === 'over')\n      throw",
        replace: "    if (state === 'over' && used === undefined)\n      throw",
      },
    ],
    run: simulation,
    caughtBy: /late: .* after its time/,
  },
  {
    name: 'retry-forgets-attempts',
    defect: 'a failed retry leaves the number of attempts as it was',
    edits: [
      {
        file: parking,
        search: 'UPDATE parked_event SET attempts = ${attempts}, reason',
        replace: 'UPDATE parked_event SET attempts = attempts, reason',
      },
    ],
    run: simulation,
    caughtBy: /calm: without any fault twice|not quiet/,
  },
  {
    name: 'one-attempt-too-many',
    defect: 'an event gets one attempt more than the limit',
    edits: [
      {
        file: 'src/messaging/consumer/retry-policy.ts',
        search: 'if (attempts >= settings.maxAttempts)',
        replace: 'if (attempts > settings.maxAttempts)',
      },
    ],
    run: simulation,
    caughtBy: /was given up after 4 attempts/,
  },
  {
    name: 'settle-order',
    defect: 'a dead letter no longer holds its key',
    edits: [
      {
        file: parking,
        search: 'OR (SELECT seq FROM letter) < (SELECT seq FROM head) THEN NULL',
        replace: 'OR (SELECT seq FROM letter) > (SELECT seq FROM head) THEN NULL',
      },
    ],
    run: simulation,
    caughtBy: /order in group/,
  },
  {
    name: 'release-instead-of-settle',
    defect: 'a key whose events are through is given back as it was, and goes on holding what comes',
    edits: [
      {
        file: parking,
        search: 'ON CONFLICT DO NOTHING`;\n      }\n      await this.settle(tx, head, 0);',
        replace: 'ON CONFLICT DO NOTHING`;\n      }',
      },
    ],
    run: simulation,
    caughtBy: /not quiet/,
  },
  {
    name: 'parking-unfenced',
    defect: 'an instance that has lost its lease on a key still changes it',
    edits: [
      { file: parking, search: 'AND key = ${head.key} AND epoch = ${head.epoch} FOR UPDATE', replace: 'AND key = ${head.key} FOR UPDATE' },
    ],
    run: fences,
    caughtBy: /lost its lease/,
  },
  {
    name: 'head-unfenced',
    defect: 'an instance that was frozen after it claimed a key takes for its first event what waits behind a dead letter',
    edits: [
      {
        file: parking,
        search: 'WHERE group_name = ${key.group} AND topic = ${key.topic} AND key = ${key.key} AND epoch = ${key.epoch})\n      ORDER BY',
        replace: 'WHERE group_name = ${key.group} AND topic = ${key.topic} AND key = ${key.key})\n      ORDER BY',
      },
    ],
    run: fences,
    caughtBy: /whoever has lost its lease on a key changes nothing of it/,
  },
  {
    name: 'claim-ignores-lease',
    defect: 'a key that is being retried is taken by another scheduler',
    edits: [{ file: parking, search: 'AND (leased_until IS NULL OR leased_until < now()) AND group_name', replace: 'AND group_name' }],
    run: simulation,
    caughtBy: /calm: without any fault twice|attempts: .* something else was counted/,
  },
  {
    name: 'no-backoff',
    defect: 'a failed event is due again at once',
    edits: [{ file: parking, search: "ELSE now() + ${delayMs ?? 0} * interval '1 ms' END", replace: 'ELSE now() END' }],
    run: simulation,
    caughtBy: /backoff: /,
  },
  {
    name: 'silent-dead-letter',
    defect: 'a dead letter is not announced',
    edits: [
      {
        file: parking,
        search: '    this.announce(tx, { id, group: event.group',
        replace: '    if (attempts < 0) this.announce(tx, { id, group: event.group',
      },
    ],
    run: simulation,
    caughtBy: /announcements of/,
  },
  {
    name: 'replay-at-the-end',
    defect: 'a replayed event goes behind what waits for it',
    edits: [
      {
        file: letters,
        search: 'VALUES (${letter.seq}, ${letter.group}',
        replace: "VALUES (nextval(pg_get_serial_sequence('parked_event', 'seq')), ${letter.group}",
      },
    ],
    run: simulation,
    caughtBy: /order in group/,
  },
  {
    name: 'discard-forgets',
    defect: 'a discarded event is not remembered, so that a redelivery handles it',
    edits: [
      {
        file: letters,
        search:
          '      await tx.$executeRaw`INSERT INTO inbox (group_name, event_id) VALUES (${letter.group}, ${letter.eventId}::uuid) ON CONFLICT DO NOTHING`;\n',
        replace: '',
      },
    ],
    run: simulation,
    caughtBy: /has never handled|order in group/,
  },
  {
    name: 'dead-letter-holds-nothing',
    defect: 'an event that is given up at once does not hold its key',
    edits: [
      {
        file: parking,
        search: 'await this.holdKey(tx, event, null);\n      if (!(await this.isDone(tx, event))) {\n        const [next]',
        replace: 'if (!(await this.isDone(tx, event))) {\n        const [next]',
      },
    ],
    run: simulation,
    caughtBy: /order in group/,
  },
  {
    name: 'kafka-asks-the-leader-alone',
    defect: 'what one replica has counts as published',
    edits: [
      {
        file: 'src/messaging/transport/kafka/kafka.publisher.ts',
        search: 'const ALL_IN_SYNC_REPLICAS = -1;',
        replace: 'const ALL_IN_SYNC_REPLICAS = 1;',
      },
    ],
    run: { project: 'unit', files: 'kafka.publisher' },
    caughtBy: /the word of all replicas/,
  },
  {
    name: 'highest-offset',
    defect: 'Kafka is told the highest settled offset, not the lowest open one',
    edits: [
      {
        file: 'src/messaging/transport/kafka/offset-tracker.ts',
        search: 'const done = this.open.values().next().value ?? this.next;',
        replace: 'const done = this.next;',
      },
    ],
    run: { project: 'unit', files: 'offset-tracker' },
    caughtBy: /lowest|open/,
  },
  {
    name: 'returned-is-published',
    defect: 'what RabbitMQ returns as unroutable counts as published, because it is confirmed too',
    edits: [
      {
        file: 'src/messaging/transport/rabbitmq/rabbitmq.publisher.ts',
        search: 'else if (entry.returned !== undefined) {',
        replace: "else if (entry.returned === '') {",
      },
    ],
    run: { project: 'unit', files: 'rabbitmq.publisher' },
    caughtBy: /does not take a returned message for published/,
  },
  {
    name: 'unconfirmed-is-published',
    defect: 'RabbitMQ is not waited for',
    edits: [
      {
        file: 'src/messaging/transport/rabbitmq/rabbitmq.publisher.ts',
        search: '    } catch (error) {\n      this.unconfirmed.delete(entry);\n      if (error instanceof amqp',
        replace:
          '      this.confirmed(entry, null);\n    } catch (error) {\n      this.unconfirmed.delete(entry);\n      if (error instanceof amqp',
      },
    ],
    run: { project: 'unit', files: 'rabbitmq.publisher' },
    caughtBy: /before every message is confirmed|before it was confirmed/,
  },
  {
    name: 'acknowledge-on-receipt',
    defect: 'a message is acknowledged to RabbitMQ when it arrives',
    edits: [
      {
        file: 'src/messaging/transport/rabbitmq/rabbitmq.queue-consumer.ts',
        search: '    const { message, undeliverable } = delivery;\n',
        replace: '    const { message, undeliverable } = delivery;\n    this.acknowledge(message);\n',
      },
      {
        file: 'src/messaging/transport/rabbitmq/rabbitmq.queue-consumer.ts',
        search: "if (settlement === 'settled') this.acknowledge(message);\n    else this",
        replace: "if (settlement !== 'settled') this",
      },
    ],
    run: { project: 'unit', files: 'rabbitmq.queue-consumer' },
    caughtBy: /when it is settled, and not before/,
  },
  {
    name: 'acknowledge-released',
    defect: 'a message that was released is acknowledged to RabbitMQ',
    edits: [
      {
        file: 'src/messaging/transport/rabbitmq/rabbitmq.queue-consumer.ts',
        search: "if (settlement === 'settled') this.acknowledge(message);",
        replace: "if (settlement === 'release') this.acknowledge(message);\n    if (settlement === 'settled') this.acknowledge(message);",
      },
    ],
    run: { project: 'unit', files: 'rabbitmq.queue-consumer' },
    caughtBy: /does not acknowledge a released message/,
  },
  {
    name: 'group-sent-at-once',
    defect: 'SQS gets several of a group in one batch, and may take a later one without an earlier one',
    edits: [
      {
        file: 'src/messaging/transport/sqs/sqs.queue-sender.ts',
        search: 'if (before) before.next = link;\n      else this.ready.push(link);',
        replace: 'void before;\n      this.ready.push(link);',
      },
    ],
    run: { project: 'unit', files: 'sqs.queue-sender' },
    caughtBy: /one of a group at a time/,
  },
  {
    name: 'stock-unlocked',
    defect: 'two orders decide on the same stock at once',
    edits: [
      { file: 'src/modules/inventory/stock-table.ts', search: 'ORDER BY sku FOR UPDATE`', replace: 'ORDER BY sku`' },
      { file: 'src/modules/inventory/stock-table.ts', search: ' AND reserved + asked.quantity <= on_hand', replace: '' },
    ],
    run: { project: 'integration', files: 'inventory', servers: ['postgres'] },
    caughtBy: /G6/,
  },
  {
    name: 'payment-guard-unread',
    defect: 'a charge of an order that was cancelled meanwhile is kept',
    edits: [
      {
        file: 'src/modules/payment/payment.service.ts',
        search: '    if (await isCancelled(this.database.prisma, orderId)) return this.giveBack(orderId); // D\n    const { reference }',
        replace: '    const { reference }',
      },
    ],
    run: { project: 'integration', files: 'payment', servers: ['postgres'] },
    caughtBy: /keeps nothing/,
  },
  {
    name: 'charge-key-per-attempt',
    defect: 'each attempt charges under another idempotency key',
    edits: [
      {
        file: 'src/modules/payment/payment.service.ts',
        search: 'return this.gateway.charge({ idempotencyKey, orderId',
        replace: 'return this.gateway.charge({ idempotencyKey: `${idempotencyKey}/${attempts}`, orderId',
      },
    ],
    run: { project: 'integration', files: 'payment', servers: ['postgres'] },
    caughtBy: /keeps nothing|charges once|idempotency key/,
  },
  {
    name: 'idempotency-key-unclaimed',
    defect: 'a repeated request makes a second order',
    edits: [
      {
        file: 'src/modules/order/idempotency-keys.ts',
        search: 'if (earlier.length === 0) return new Map();',
        replace: 'if (earlier.length >= 0) return new Map();',
      },
    ],
    run: { project: 'integration', files: 'order.spec', servers: ['postgres'] },
    caughtBy: /twins|stored first answer/,
  },
  {
    name: 'reused-key-accepted',
    defect: 'another request under a used idempotency key gets the answer of the first',
    edits: [
      {
        file: 'src/modules/order/order.service.ts',
        search: 'return outcome.stored.request === claim?.request ?',
        replace: "return outcome.stored.request !== '' ?",
      },
    ],
    run: { project: 'integration', files: 'order.spec', servers: ['postgres'] },
    caughtBy: /key/,
  },
  {
    name: 'outbox-outside-transaction',
    defect: 'the event commits although the business change does not',
    edits: [
      {
        file: outbox,
        search: 'this.database.atCommit(tx, FLUSH, [',
        replace: 'void this.database.prisma.$executeRawUnsafe(FLUSH, ...[',
      },
    ],
    run: { project: 'integration', files: 'commit-or-nothing', servers: ['postgres'] },
    caughtBy: /never if it does not/,
  },
  {
    name: 'low-water-ignores-writers',
    defect: 'ids that a transaction has taken and not yet committed are passed over',
    edits: [{ file: lowWater, search: 'if (candidate.writing.size > 0) {', replace: 'if (candidate.writing.size < 0) {' }],
    run: { project: 'integration', files: 'low-water', servers: ['postgres'] },
    caughtBy: /never passes an id/,
  },
  {
    name: 'low-water-ignores-parked',
    defect: 'a parked event that is put back in its place is passed over',
    edits: [{ file: outboxTable, search: '(SELECT min(id) FROM outbox_parked WHERE outbox_parked.lane = wanted.lane)', replace: 'NULL' }],
    run: { project: 'integration', files: 'low-water', servers: ['postgres'] },
    caughtBy: /does not pass a row that was parked/,
  },
  {
    name: 'queue-low-water-ignores-outbox',
    defect: 'an event that comes into its queue behind one with a higher id is passed over',
    edits: [{ file: postgresQueue, search: '(SELECT id FROM coming WHERE coming.lane = wanted.lane)', replace: 'NULL::bigint' }],
    run: { project: 'integration', files: 'low-water', servers: ['postgres'] },
    caughtBy: /is not behind a row that overtook another/,
  },
  {
    name: 'statements-that-do-not-share-a-sync',
    defect: 'a COMMIT takes place behind a statement that failed',
    edits: [
      {
        file: pipeline,
        search: "        wire.execute({ portal: '', rows: 0 });\n",
        replace: "        wire.execute({ portal: '', rows: 0 });\n        if (index === 0) wire.sync();\n",
      },
    ],
    run: { project: 'integration', files: 'transactions', servers: ['postgres'] },
    caughtBy: /stop at the first that fails|are atomic/,
  },
  {
    name: 'begin-forgotten',
    defect: 'each statement of a transaction commits by itself',
    edits: [
      { file: transactionPool, search: "const begins = this.state === 'to begin';", replace: 'const begins = this.state === undefined;' },
    ],
    run: { project: 'integration', files: 'transactions', servers: ['postgres'] },
    caughtBy: /are atomic/,
  },
  {
    name: 'commit-unread',
    defect: 'a COMMIT that PostgreSQL answered with a rollback counts as one',
    edits: [{ file: transactionPool, search: "if (result.command === 'ROLLBACK')", replace: "if (result.command === '')" }],
    run: { project: 'integration', files: 'transactions', servers: ['postgres'] },
    caughtBy: /went on regardless/,
  },
  {
    name: 'mark-goes-with-the-commit',
    defect: 'the mark of an event that was handled before refuses a transaction that has been committed with it',
    edits: [{ file: transactionPool, search: 'if (this.ahead.length > 0) await this.send(this.first());', replace: '' }],
    run: { project: 'integration', files: 'transactions', servers: ['postgres'] },
    caughtBy: /never commit what it refuses/,
  },
  {
    name: 'refusal-forgotten',
    defect: 'a handler that goes on behind the mark of an event that was handled before has its effect twice',
    edits: [{ file: transactionPool, search: 'if (this.refusal) throw this.refusal;', replace: '' }],
    run: { project: 'integration', files: 'transactions', servers: ['postgres'] },
    caughtBy: /never commit what it refuses/,
  },
  {
    name: 'joins-a-reading-under-way',
    defect: 'an order is priced by a reading that began before it came',
    edits: [
      {
        file: 'src/modules/order/catalogue.ts',
        search: 'this.next = undefined;\n        return this.read([...skus]);',
        replace: 'return this.read([...skus]).finally(() => (this.next = undefined));',
      },
    ],
    run: { project: 'integration', files: 'catalogue', servers: ['postgres'] },
    caughtBy: /began before he asked/,
  },
  {
    name: 'asks-again-too-late',
    defect: 'a part of a transaction asks again behind a later part, whose change it then undoes',
    edits: [{ file: lineUp, search: 'this.ended || part < this.lastSent', replace: 'this.ended' }],
    run: { project: 'integration', files: 'side-by-side', servers: ['postgres'] },
    caughtBy: /asks again after a later one|effect of one after the other|no change is lost/,
  },
  {
    name: 'statements-out-of-turn',
    defect: 'statements of the parts of a transaction go in the order in which they were asked',
    edits: [{ file: lineUp, search: '.sort((one, other) => one.part - other.part)', replace: '' }],
    run: { project: 'integration', files: 'side-by-side', servers: ['postgres'] },
    caughtBy: /in their order/,
  },
  {
    name: 'refusal-swallowed',
    defect: 'a transaction is committed though one of its parts was refused, and has caught that',
    edits: [{ file: lineUp, search: 'if (over instanceof OutOfTurnError) throw over;', replace: '' }],
    run: { project: 'integration', files: 'side-by-side', servers: ['postgres'] },
    caughtBy: /asks again after a later one/,
  },
  {
    name: 'events-out-of-turn',
    defect: 'handlers that run side by side publish in the order in which they end',
    edits: [{ file: 'src/messaging/outbox/outbox.ts', search: 'emitted.sort((one, other) => one.place - other.place);', replace: '' }],
    run: { project: 'integration', files: 'side-by-side', servers: ['postgres'] },
    caughtBy: /their events keep the order of their work/,
  },
  {
    name: 'acknowledges-too-much',
    defect: 'RabbitMQ is told that a delivery is done which lies before others that are',
    edits: [
      {
        file: 'src/messaging/transport/rabbitmq/acknowledgements.ts',
        search: 'if (!this.settled.delete(tag)) break;',
        replace: 'if (!this.settled.delete(tag)) continue;',
      },
    ],
    run: { project: 'unit', files: 'acknowledgements' },
    caughtBy: /nothing else/,
  },
  {
    name: 'grouped-again',
    defect: 'handlers that commit together do not ask whether their events have been handled',
    edits: [
      {
        file: 'src/messaging/consumer/once.ts',
        search: 'if (!eventIds.every((id) => marked.has(id))) refuse();',
        replace: 'if (marked.size < 0) refuse();',
      },
    ],
    run: simulation,
    caughtBy: /effect/,
  },
  {
    name: 'events-before-requests',
    defect: 'handlers of events take every connection that comes free, and requests wait behind all of them',
    edits: [
      {
        file: 'src/messaging/consumer/consumers.ts',
        search: 'this.database.asEvent(() => runner.deliver(message))',
        replace: 'runner.deliver(message)',
      },
    ],
    run: { project: 'integration', files: 'backlog', servers: ['postgres'] },
    caughtBy: /leaves its connections to a request/,
  },
  {
    name: 'connections-leak',
    defect: 'a connection that could not be had is counted as lent for ever',
    edits: [{ file: transactionPool, search: 'this.shares.leave(claimant);\n      throw error;', replace: 'throw error;' }],
    run: { project: 'integration', files: 'transactions', servers: ['postgres'] },
    caughtBy: /not for want of connections/,
  },
  {
    name: 'stock-taken-twice',
    defect: 'what one order of a batch gets is still there for those behind it',
    edits: [
      {
        file: 'src/modules/inventory/allotment.ts',
        search: 'for (const line of order.items) free.set(line.sku, left(line));',
        replace: '',
      },
    ],
    run: { project: 'unit', files: 'allotment' },
    caughtBy: /in turn|never gives more/,
  },
];
