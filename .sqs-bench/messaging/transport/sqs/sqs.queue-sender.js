import { BrokerUnavailableError, MessageRejectedError } from '../broker-adapter.js';
import { isMissingQueue, nameOf, request, unavailable } from './sqs.connection.js';
import { MAX_BATCH_ENTRIES } from './sqs.settings.js';
const PARALLEL_BATCHES = 8;
const REQUEST_TIMEOUT_MS = 10_000;
/** After so long nothing more is sent; what is left is tried again by whoever asked. */ const TOTAL_TIMEOUT_MS = 30_000;
/** Errors of a whole request that one of its messages is to blame for. */ const REFUSALS = new Set([
  'InvalidMessageContents',
  'BatchRequestTooLong',
  'InvalidParameterValue',
  'InvalidParameterValueException',
  'InvalidParameterCombination',
  'InvalidAttributeValue',
  'MissingParameter',
  'ValidationError',
  'InvalidAction',
]);
/** Errors of an entry that SQS blames on the sender, although another message would fare no better. */ const NO_FAULT_OF_MESSAGE =
  /throttl|accessdenied|^kms|overlimit/i;
/**
 * Sends entries to one queue, in waves: a batch holds at most one entry of a message group, because SQS may take
 * a later entry of a batch and fail an earlier one. The next of a group goes out when the one before it is there.
 */ export class QueueSender {
  queue;
  connection;
  logger;
  failures = new Map();
  /** The first of each group that has not been sent, in the order in which they came. */ ready = [];
  deadline = performance.now() + TOTAL_TIMEOUT_MS;
  sending = 0;
  /** Why nothing more is sent. */ outage;
  finish = () => undefined;
  constructor(queue, connection, logger) {
    this.queue = queue;
    this.connection = connection;
    this.logger = logger;
  }
  /** Never rejects; answers the entries that are not proved to be in the queue, by index. */ async send(entries) {
    const last = new Map();
    for (const entry of entries) {
      const link = {
        entry,
      };
      const before = last.get(entry.messageGroupId);
      if (before) before.next = link;
      else this.ready.push(link);
      last.set(entry.messageGroupId, link);
    }
    const finished = new Promise((resolve) => (this.finish = resolve));
    this.pump();
    await finished;
    return this.failures;
  }
  pump() {
    if (performance.now() > this.deadline)
      this.outage ??= new BrokerUnavailableError(`SQS was too slow to take all within ${TOTAL_TIMEOUT_MS} ms`);
    if (this.outage) {
      for (const link of this.ready.splice(0)) this.fail(link, this.outage);
    }
    while (this.sending < PARALLEL_BATCHES && this.ready.length > 0) {
      this.sending++;
      void this.sendBatch(this.takeBatch()).then(() => {
        this.sending--;
        this.pump();
      });
    }
    if (this.sending === 0) this.finish();
  }
  takeBatch() {
    let bytes = 0;
    let count = 0;
    for (const { entry } of this.ready) {
      bytes += entry.packed.bytes;
      if (count === MAX_BATCH_ENTRIES || bytes > this.queue.maxMessageBytes) break;
      count++;
    }
    return this.ready.splice(0, Math.max(1, count));
  }
  async sendBatch(batch) {
    try {
      await this.sendEntries(batch);
    } catch (error) {
      if (isMissingQueue(error)) {
        for (const link of batch) this.fail(link, this.missingQueue(link.entry, error));
      } else if (!REFUSALS.has(nameOf(error))) {
        this.outage ??= unavailable(`queue "${this.queue.name}" took nothing`, error);
        for (const link of batch) this.fail(link, this.outage);
      } else if (batch.length === 1) {
        for (const link of batch) this.fail(link, this.refusal(link.entry, `${nameOf(error)}: ${error.message}`, error));
      } else {
        // It does not say which one it is.
        for (const link of batch) await this.sendBatch([link]);
      }
    }
  }
  async sendEntries(batch) {
    const { Successful: successful = [], Failed: failed = [] } = await request(REQUEST_TIMEOUT_MS, (options) =>
      this.connection.publishing.sendMessageBatch(
        {
          QueueUrl: this.queue.url,
          Entries: batch.map(toRequestEntry),
        },
        options,
      ),
    );
    const unanswered = new Map(batch.map((link, id) => [String(id), link]));
    const take = (id) => {
      const link = unanswered.get(id ?? '');
      if (!link)
        this.logger.error(
          {
            queue: this.queue.name,
            entryId: id,
          },
          'SQS answered for an entry that was not sent',
        );
      unanswered.delete(id ?? '');
      return link;
    };
    for (const { Id: id, SenderFault: isSenderFault, Code: code = 'unknown', Message: text = '' } of failed) {
      const link = take(id);
      if (!link) continue;
      const isFaultOfMessage = isSenderFault === true && !NO_FAULT_OF_MESSAGE.test(code);
      const reason = `${code}: ${text}`;
      this.fail(
        link,
        isFaultOfMessage
          ? this.refusal(link.entry, reason)
          : new BrokerUnavailableError(`queue "${this.queue.name}" did not take event ${link.entry.eventId}: ${reason}`),
      );
    }
    for (const { Id: id } of successful) {
      const next = take(id)?.next;
      if (next) this.ready.push(next);
    }
    for (const link of unanswered.values()) {
      this.fail(link, new BrokerUnavailableError(`SQS did not answer for event ${link.entry.eventId} on queue "${this.queue.name}"`));
    }
  }
  /** Answers for an entry and for those of its group behind it, which were not sent. */ fail({ entry, next }, error) {
    this.failures.set(entry.index, error);
    for (let behind = next; behind; behind = behind.next) {
      const text = `event ${behind.entry.eventId} was not sent, because event ${entry.eventId} before it was refused`;
      this.failures.set(
        behind.entry.index,
        error instanceof MessageRejectedError
          ? new MessageRejectedError(text, {
              cause: error,
            })
          : error,
      );
    }
  }
  refusal({ eventId }, reason, cause) {
    return new MessageRejectedError(`queue "${this.queue.name}" refuses event ${eventId}: ${reason}`, {
      cause,
    });
  }
  missingQueue({ eventId }, cause) {
    return new MessageRejectedError(
      `event ${eventId} has nowhere to go: queue "${this.queue.name}" does not exist any more; start the application once with BROKER_PROVISION=true`,
      {
        cause,
      },
    );
  }
}
function toRequestEntry({ entry }, id) {
  return {
    Id: String(id),
    MessageBody: entry.packed.body,
    MessageAttributes: entry.packed.attributes,
    MessageGroupId: entry.messageGroupId,
    // SQS wants one. Nothing relies on it: SQS remembers it for five minutes only.
    MessageDeduplicationId: entry.deduplicationId,
  };
}

//# sourceMappingURL=sqs.queue-sender.js.map
