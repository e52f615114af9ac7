// @ts-check

/**
 * @typedef {'postgres' | 'kafka' | 'rabbitmq' | 'sqs'} Broker
 * @typedef {'any' | Broker} Place where a fault is proved; `any`: it does not touch the broker, and is proved once
 *
 * @typedef {object} Proof A test outside this folder that proves the fault.
 * @property {string} file where it is written
 * @property {string} test its name, as it is written there
 * @property {readonly Place[]} on
 * @property {string} run the file that Jest runs, with `{place}` for the broker
 *
 * @typedef {object} Fault
 * @property {string} id
 * @property {string} what
 * @property {readonly Place[]} on what it concerns; empty: nothing that exists
 * @property {string} [elsewhere] why it does not concern the other brokers
 * @property {readonly Proof[]} [proofs] besides the tests of this folder that are named by its id
 * @property {string} [note] what a reader must know of the proof
 */

/** @type {readonly Broker[]} */
export const BROKERS = ['postgres', 'kafka', 'rabbitmq', 'sqs'];
const REAL = /** @type {const} */ (['kafka', 'rabbitmq', 'sqs']);

/** @param {string} test @param {readonly Broker[]} on @returns {Proof} */
const conformance = (test, on = BROKERS) => ({
  file: 'test/conformance/conformance-suite.ts',
  test,
  on,
  run: 'test/conformance/{place}.spec.ts',
});

/** @param {string} test @param {readonly Broker[]} on @returns {Proof} */
const story = (test, on = BROKERS) => ({ file: 'test/e2e/shop-suite.ts', test, on, run: 'test/e2e/shop-{place}.spec.ts' });

/** @param {Broker} broker @param {string} test @returns {Proof} */
const adapter = (broker, test) => inFile(`test/adapters/${broker}-adapter.spec.ts`, test, [broker]);

/** @param {string} file @param {string} test @param {readonly Place[]} on @returns {Proof} */
const inFile = (file, test, on = ['any']) => ({ file, test, on, run: file });

const OUTAGE = 'the server is stopped under load and comes back: all arrives, no attempt is counted, nothing is a dead letter';
const KAFKA_ALONE = 'it is a trait of Kafka and its client';
const RABBITMQ_ALONE = 'it is a trait of RabbitMQ and its client';
const SQS_ALONE = 'it is a trait of SQS';

/** The starred faults that a release must survive, in the order of their families. @type {readonly Fault[]} */
export const faults = [
  {
    id: 'P1',
    what: 'crash between publish and mark',
    on: BROKERS,
    note: 'On postgres reading, publishing and deleting are one statement: `relay.afterRead` dies before it, `relay.afterPublish` and `relay.beforeDelete` right after its commit, when nothing is left to publish again.',
  },
  { id: 'P2', what: 'crash after the business write, before the commit', on: BROKERS },
  {
    id: 'P3',
    what: 'broker down for minutes under load',
    on: REAL,
    elsewhere: 'the broker is the database there; P4 and C12 take it away',
    proofs: [
      conformance(OUTAGE, REAL),
      adapter('rabbitmq', '★P3 loses nothing and inverts nothing when the server is killed under load and comes back'),
    ],
    note: 'The outage lasts 15 s, and three minutes with `npm run test:faults:all`.',
  },
  { id: 'P4', what: 'database restarts, ends connections, freezes', on: BROKERS, proofs: [conformance(OUTAGE, ['postgres'])] },
  { id: 'P5', what: 'half-open connection to the database', on: BROKERS },
  {
    id: 'P6',
    what: 'poison row in the outbox',
    on: BROKERS,
    proofs: [adapter('kafka', '★P6 refuses an unknown topic for its entries alone')],
  },
  {
    id: 'P7',
    what: 'event larger than the broker takes',
    on: BROKERS,
    proofs: [adapter('kafka', 'P7 refuses what is too large, and what comes after it in its key; the rest passes')],
    note: 'There is no claim check yet: an event above the limit is refused where it is emitted.',
  },
  { id: 'P9', what: 'clocks of application and database ten minutes apart', on: BROKERS },
  {
    id: 'P10',
    what: 'several relays',
    on: BROKERS,
    proofs: [conformance('one key keeps its order with three instances, while instances come and go')],
  },
  { id: 'P11', what: 'relay frozen past its lease', on: BROKERS },
  { id: 'P12', what: 'a long transaction holds a lower id', on: BROKERS },
  { id: 'P13', what: 'connection pool exhausted', on: BROKERS },
  {
    id: 'P16',
    what: 'U+0000 and lone surrogates in a body',
    on: ['any'],
    proofs: [inFile('test/integration/http-edge.spec.ts', 'with %s is refused')],
  },

  {
    id: 'K1',
    what: 'rebalance while handlers work',
    on: ['kafka', 'rabbitmq'],
    elsewhere: 'nothing is rebalanced there; P10 has instances that come and go',
    proofs: [
      conformance('one key keeps its order with three instances, while instances come and go', ['kafka', 'rabbitmq']),
      adapter('kafka', '★K1 keep the order of each key and lose nothing while members come and go under load'),
      adapter('rabbitmq', '★K1/P10 keeps the order of each key while instances come, go and break'),
    ],
  },
  {
    id: 'K2',
    what: 'handler runs longer than the session',
    on: ['kafka'],
    elsewhere: KAFKA_ALONE,
    proofs: [adapter('kafka', '★K2 takes at most so many at once, and keeps its session however long the handlers take')],
  },
  {
    id: 'K3',
    what: 'broker restarts',
    on: REAL,
    elsewhere: 'the broker is the database there; see P4',
    proofs: [
      conformance(OUTAGE, REAL),
      adapter('kafka', '★K3 consume again after the broker was killed, frozen and cut off, and lose nothing'),
      adapter('rabbitmq', '★K3 loses nothing and inverts nothing when the server is stopped under load and comes back'),
    ],
  },
  {
    id: 'K4',
    what: 'the client crashes without restarting itself',
    on: ['kafka'],
    elsewhere: KAFKA_ALONE,
    proofs: [adapter('kafka', '★K4 says once that it died on a record nobody can read, and can be closed')],
  },
  {
    id: 'K5',
    what: 'consumer that lives and does not move',
    on: ['kafka'],
    elsewhere: `${KAFKA_ALONE}; C9 has a hanging handler on each broker`,
    note: 'A handler that hangs is ended by its time-out, so the offset moves on; liveness says nothing of the broker, on purpose.',
  },
  {
    id: 'K6',
    what: 'one group on different topics',
    on: ['kafka'],
    elsewhere: KAFKA_ALONE,
    proofs: [adapter('kafka', '★K6 refuses two subscriptions that would share a consumer group, and names that Kafka cannot have')],
  },
  {
    id: 'K8',
    what: 'topic missing, nothing is created by itself',
    on: REAL,
    elsewhere: 'there is nothing to provision beside the migrations',
    proofs: [
      adapter('kafka', '★K8 refuses to start when a topic is missing that it must not create, and names it'),
      adapter('rabbitmq', 'says what is missing when it must not create it'),
      adapter('sqs', 'names every missing queue when it may not create them'),
    ],
  },
  {
    id: 'K9',
    what: 'message or batch too large for the broker',
    on: ['kafka'],
    elsewhere: `${KAFKA_ALONE}; S6 has the batches of SQS`,
    proofs: [
      adapter('kafka', 'P8 ★K9 isolates the records that the broker itself refuses'),
      inFile('src/messaging/transport/kafka/publish-batch.spec.ts', 'splits by bytes', ['kafka']),
    ],
  },
  {
    id: 'K10',
    what: 'leader dies, too few replicas',
    on: ['kafka'],
    elsewhere: KAFKA_ALONE,
    proofs: [
      inFile(
        'test/adapters/kafka-cluster.spec.ts',
        '★K10 loses nothing and keeps each order while brokers die under load; too few replicas are an outage',
        ['kafka'],
      ),
      inFile('src/messaging/transport/kafka/publish-batch.spec.ts', '★K10 takes too few replicas for an outage of that partition alone', [
        'kafka',
      ]),
    ],
  },
  {
    id: 'K12',
    what: 'connection goes silent, then is reset',
    on: REAL,
    elsewhere: 'the broker is the database there; see P5',
    proofs: [
      adapter('kafka', '★K12 answers in bounded time when the network swallows everything, and goes on when it is back'),
      adapter('kafka', 'survives connections that are reset in the middle of batches'),
      adapter('rabbitmq', 'gives up a silent broker after the confirm time-out'),
      adapter('sqs', 'takes an outage for nobody’s fault, ends in time, and goes on when it is over'),
    ],
  },
  {
    id: 'K14',
    what: 'kill -9 while a handler works',
    on: REAL,
    elsewhere: 'see E1, which is the same',
    proofs: [adapter('kafka', '★K14 take over from one that was killed after its session')],
  },
  {
    id: 'K18',
    what: 'first deployment of a new group',
    on: BROKERS,
    proofs: [
      conformance('nothing is lost before the first subscriber of a provisioned group'),
      adapter('kafka', '★K18 K17 starts at the oldest message, and takes whatever bytes there are'),
    ],
  },

  {
    id: 'R1',
    what: 'connection drops with unconfirmed publishes',
    on: ['rabbitmq'],
    elsewhere: RABBITMQ_ALONE,
    proofs: [
      adapter('rabbitmq', '★R1 answers for every message when the connection breaks, and goes on with the next batch'),
      adapter('rabbitmq', '★R1 loses nothing and inverts nothing when every connection is closed by the server under load'),
    ],
  },
  { id: 'R2', what: 'kill -9 with publishes in the buffer', on: REAL, elsewhere: 'nothing is buffered: one statement moves the rows' },
  {
    id: 'R3',
    what: 'queue exists with other arguments',
    on: ['rabbitmq'],
    elsewhere: RABBITMQ_ALONE,
    proofs: [adapter('rabbitmq', '★R3 names the queue, the argument, both values and the cure when a queue has other arguments')],
  },
  {
    id: 'R4',
    what: 'no queue is bound',
    on: ['rabbitmq'],
    elsewhere: RABBITMQ_ALONE,
    proofs: [adapter('rabbitmq', '★R4 refuses what no queue is bound for, holds back the rest of its key, and lets other keys pass')],
  },
  {
    id: 'R5',
    what: "the server's own delivery limit",
    on: ['rabbitmq'],
    elsewhere: RABBITMQ_ALONE,
    proofs: [
      adapter('rabbitmq', '★R5 gives up the message that was in hand at each crash, in its place, and nothing else'),
      adapter('rabbitmq', '★R5 hears of what the broker itself gave up'),
    ],
  },
  {
    id: 'R6',
    what: 'alarm of memory or disk',
    on: ['rabbitmq'],
    elsewhere: RABBITMQ_ALONE,
    proofs: [adapter('rabbitmq', '★R6 stops publishing during an alarm, not consuming, and can be closed')],
  },
  { id: 'R7', what: "the server's consumer time-out", on: ['rabbitmq'], elsewhere: RABBITMQ_ALONE },
  {
    id: 'R8',
    what: 'prefetch filled by types that nobody handles',
    on: BROKERS,
    proofs: [conformance('a type that nobody in the group handles is acknowledged')],
  },
  {
    id: 'R10',
    what: 'server that reads slowly',
    on: ['rabbitmq'],
    elsewhere: RABBITMQ_ALONE,
    proofs: [adapter('rabbitmq', 'takes 50,000 messages with bounded memory')],
  },

  {
    id: 'S1',
    what: 'visibility runs out while a handler works',
    on: ['sqs'],
    elsewhere: SQS_ALONE,
    proofs: [
      adapter('sqs', 'keeps a message invisible for as long as it is in hand'),
      adapter('sqs', 'loses its right to a delivery whose heartbeat is refused'),
    ],
  },
  {
    id: 'S4',
    what: 'message group blocked by poison',
    on: BROKERS,
    proofs: [
      conformance(
        'a failing event is retried with a rising attempt, holds up its own key only, and ends as a dead letter with the original bytes',
      ),
      adapter('sqs', 'gives up the first message that came too often, in its place, and lets those behind it be handled'),
    ],
    note: 'The queue flows on; in our database a dead letter holds its own key until an operator decides, on every broker.',
  },
  {
    id: 'S5',
    what: 'part of a batch fails',
    on: BROKERS,
    proofs: [
      conformance('a partial failure of a batch names exactly the failed entries'),
      adapter('sqs', 'proves each entry by its own answer, on every queue'),
    ],
  },
  {
    id: 'S6',
    what: 'batch larger than the limit',
    on: ['sqs'],
    elsewhere: `${SQS_ALONE}; K9 has the batches of Kafka`,
    proofs: [adapter('sqs', 'splits by entries and by bytes')],
  },
  { id: 'S8', what: 'second copy after the window of de-duplication', on: ['sqs'], elsewhere: SQS_ALONE },
  {
    id: 'S9',
    what: 'duplicates and disorder of a standard queue',
    on: [],
    elsewhere:
      'only FIFO queues are used, whose names end in .fifo, which SQS gives to no standard queue; C1 has the duplicates, C3 the disorder',
  },
  {
    id: 'S11',
    what: 'more than ten message attributes',
    on: ['sqs'],
    elsewhere: SQS_ALONE,
    proofs: [adapter('sqs', 'carries any bytes, headers and keys')],
  },

  { id: 'E1', what: 'kill -9 of a worker that holds messages', on: ['postgres'], elsewhere: 'see K14, which is the same' },

  {
    id: 'C1',
    what: 'duplicate, one after the other',
    on: BROKERS,
    proofs: [conformance('a duplicate has no second effect, also when two instances get it at once')],
    note: 'SQS itself drops a copy within five minutes; S8 has one that it accepts.',
  },
  {
    id: 'C2',
    what: 'duplicate, at the same time',
    on: ['any', ...BROKERS],
    proofs: [conformance('a duplicate has no second effect, also when two instances get it at once')],
  },
  {
    id: 'C3',
    what: 'out of order',
    on: ['any'],
    proofs: [
      inFile('test/integration/order.spec.ts', 'ignores what comes too late, and what is of no order'),
      inFile('test/integration/inventory.spec.ts', 'changes nothing for an order that holds nothing'),
    ],
    note: 'Within a key order is kept (P10). Across topics it is not, and every consumer of the shop decides by the state it finds.',
  },
  {
    id: 'C4',
    what: 'bytes that are no event',
    on: BROKERS,
    proofs: [conformance('malformed bytes go to the dead letters, and the consumer lives')],
  },
  { id: 'C5', what: 'data against the schema', on: BROKERS },
  { id: 'C6', what: 'unknown type', on: BROKERS, proofs: [conformance('a type that nobody in the group handles is acknowledged')] },
  {
    id: 'C8',
    what: 'handler always throws',
    on: BROKERS,
    proofs: [
      conformance(
        'a failing event is retried with a rising attempt, holds up its own key only, and ends as a dead letter with the original bytes',
      ),
    ],
  },
  { id: 'C9', what: 'handler hangs', on: BROKERS },
  { id: 'C10', what: 'SIGTERM while a handler works', on: BROKERS, proofs: [conformance('close waits for what is in flight')] },
  { id: 'C11', what: 'crash around the commit of an effect', on: BROKERS },
  { id: 'C12', what: 'database away while consuming', on: BROKERS, proofs: [conformance(OUTAGE, ['postgres'])] },
  {
    id: 'C14',
    what: 'call outside was done, its answer is lost',
    on: BROKERS,
    proofs: [story('an order paid with %s ends %s')],
    note: 'The token `tok_lost_response` charges and then breaks the connection.',
  },

  { id: 'D1', what: 'writing the dead letter fails', on: BROKERS },
  { id: 'D2', what: 'crash between dead letter and acknowledgement', on: BROKERS },
  { id: 'D3', what: 'replay asked for twice at once', on: BROKERS },
  {
    id: 'D4',
    what: 'replay goes to the failed group alone',
    on: BROKERS,
    proofs: [conformance('a replay goes to that group alone, then come the events that waited behind it, in order')],
  },
  {
    id: 'G1',
    what: 'duplicate or late reply',
    on: ['any'],
    proofs: [
      inFile('test/integration/order.spec.ts', 'ignores what comes too late, and what is of no order'),
      inFile('test/integration/inventory.spec.ts', 'decides once per order, also when the inbox has forgotten the event'),
    ],
    note: "By choreography: the order's own state decides.",
  },
  {
    id: 'G2',
    what: 'two replies or two starts at once',
    on: ['any'],
    proofs: [
      inFile('test/integration/order.spec.ts', 'is done once by many at once, and races a confirmation to a legal history'),
      inFile('test/integration/order.spec.ts', 'makes one order of twenty twins at once'),
    ],
    note: "By choreography: the order's row is locked.",
  },
  {
    id: 'G3',
    what: 'compensation fails',
    on: [],
    elsewhere:
      'there is no saga, so no state COMPENSATION_FAILED; a refund that fails is an event that fails: it is retried and becomes a dead letter (C8), never "done"',
  },
  {
    id: 'G4',
    what: 'time-out of a step races its success',
    on: ['any'],
    proofs: [
      inFile('test/integration/payment.spec.ts', 'keeps nothing, in every interleaving of the two, with %j'),
      inFile('test/integration/payment.spec.ts', 'keeps nothing when a second instance gets the same event, in random interleavings'),
    ],
    note: 'By choreography there is no timer; the race is that of a cancel with the payment.',
  },
  {
    id: 'G5',
    what: 'crash between a saga step and its command',
    on: [],
    elsewhere:
      'there is no saga and no timer; a consumer commits its state and the next event in one transaction, and C11 crashes on both sides of it',
  },

  {
    id: 'H1',
    what: 'malformed requests',
    on: ['any'],
    proofs: [
      inFile('test/integration/http-edge.spec.ts', 'with %s is refused'),
      inFile('test/integration/http-edge.spec.ts', 'that is %s answers 415'),
      inFile('test/integration/http-edge.spec.ts', '%s is answered with a problem document'),
    ],
  },
  {
    id: 'H2',
    what: 'huge and slow bodies',
    on: ['any'],
    proofs: [
      inFile('test/integration/http-edge.spec.ts', 'of 50 MB, %s its length, is answered 413 to a client that writes it all first'),
      inFile('test/integration/http-edge.spec.ts', 'headers or a body that come too slowly are answered 408'),
      inFile('test/integration/http-edge.spec.ts', 'with %s is refused'),
    ],
  },
  {
    id: 'H3',
    what: 'amounts and quantities',
    on: ['any'],
    proofs: [
      inFile('src/modules/order/order.dto.spec.ts', 'refuses %s, naming the field'),
      inFile('src/modules/inventory/inventory.dto.spec.ts', 'refuses %s, naming the field'),
      inFile('src/modules/order/order-pricing.spec.ts', 'takes the largest total that a JSON number holds exactly, and no larger one'),
    ],
  },
  {
    id: 'H4',
    what: 'one Idempotency-Key, several requests',
    on: ['any', ...BROKERS],
    proofs: [
      inFile('test/integration/order.spec.ts', 'gives the stored first answer to the same JSON value, whatever has changed since'),
      inFile('test/integration/order.spec.ts', 'makes one order of twenty twins at once'),
      inFile(
        'test/integration/order.spec.ts',
        'waits for a twin only so long, then says when to come again; if the twin fails, the key is free',
      ),
      story('the same Idempotency-Key places one order'),
    ],
    note: 'P2 has the repetition after a crash.',
  },
  {
    id: 'H5',
    what: 'operator routes without the token',
    on: ['any'],
    proofs: [
      inFile('test/integration/http-locks.spec.ts', 'is for operators even when its controller forgot to say so'),
      inFile('test/integration/http-edge.spec.ts', 'cannot be evaded by %s'),
      inFile('test/integration/http-edge.spec.ts', '%s is not let in'),
    ],
  },
  { id: 'H7', what: 'SQL in every string', on: ['any'] },
  {
    id: 'H8',
    what: 'line breaks and escapes in what is logged',
    on: ['any'],
    proofs: [inFile('src/observability/create-logger.spec.ts', 'one event stays one line in %s, whatever it holds')],
  },
  {
    id: 'H9',
    what: 'prototype pollution by bodies and by events',
    on: ['any', ...BROKERS],
    proofs: [
      inFile('test/integration/http-edge.spec.ts', 'with %s is refused'),
      inFile('src/http/validation-pipe.spec.ts', 'refuses inherited names in a query too'),
      conformance('malformed bytes go to the dead letters, and the consumer lives'),
    ],
  },
  {
    id: 'H10',
    what: 'headers of a client that would be headers of an event',
    on: ['any'],
    proofs: [inFile('test/integration/http-edge.spec.ts', 'is made anew for %s')],
  },
  {
    id: 'H11',
    what: 'secrets in logs and errors',
    on: ['any', ...BROKERS],
    proofs: [
      inFile('src/config/read-config.spec.ts', 'shows no secret, whatever is wrong with it or around it'),
      inFile('src/observability/create-logger.spec.ts', 'never shows a credential of the message'),
      story('no token, no note and no password reaches the log'),
      adapter('kafka', '★O2 ★H11 names a wrong TLS or login setting, and never the password'),
      adapter('rabbitmq', '★H11 shows no password when it is wrong'),
    ],
  },
  { id: 'H12', what: 'personal data in dead letters and traces', on: ['any'] },
  { id: 'O1', what: 'environment that is wrong', on: ['any'] },
  {
    id: 'O2',
    what: 'TLS and login mistakes',
    on: ['kafka', 'rabbitmq'],
    elsewhere: "PostgreSQL's and SQS's clients bring their own TLS; certificates and mechanisms come with the TLS feature",
    proofs: [
      adapter('kafka', '★O2 ★H11 names a wrong TLS or login setting, and never the password'),
      adapter('rabbitmq', '★O2 says so when one side speaks TLS and the other does not'),
    ],
    note: 'Only the wrong protocol so far.',
  },
];
