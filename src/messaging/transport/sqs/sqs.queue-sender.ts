import type { SendMessageBatchRequestEntry } from '@aws-sdk/client-sqs';
import type { Logger } from '../../../observability/logger.js';
import { BrokerUnavailableError, MessageRejectedError } from '../broker-adapter.js';
import { isMissingQueue, nameOf, request, unavailable, type SqsConnection } from './sqs.connection.js';
import type { PackedMessage } from './sqs.message.js';
import { MAX_BATCH_ENTRIES } from './sqs.settings.js';
import type { SqsQueue } from './sqs.topology.js';

const PARALLEL_BATCHES = 8;
const REQUEST_TIMEOUT_MS = 10_000;
/** After so long nothing more is sent; what is left is tried again by whoever asked. */
const TOTAL_TIMEOUT_MS = 30_000;

/** Errors of a whole request that one of its messages is to blame for. */
const REFUSALS = new Set([
  'InvalidMessageContents',
  'BatchRequestTooLong',
  'InvalidParameterValue',
  'InvalidParameterValueException',
  'InvalidParameterCombination',
  'InvalidAttributeValue',
  'MissingParameter',
  'ValidationError',
  'InvalidAction', // what ElasticMQ calls a text that it cannot read
]);

/** Errors of an entry that SQS blames on the sender, although another message would fare no better. */
const NO_FAULT_OF_MESSAGE = /throttl|accessdenied|^kms|overlimit/i;

/** One message on its way to one queue or several. */
export interface Entry {
  /** Its place in the batch that was asked for. */
  readonly index: number;
  readonly eventId: string;
  readonly messageGroupId: string;
  readonly deduplicationId: string;
  readonly size: number;
  readonly packed: PackedMessage;
}

interface Link {
  readonly entry: Entry;
  /** The next one of its message group. */
  next?: Link;
}

/**
 * Sends entries to one queue, in waves: a batch holds at most one entry of a message group, because SQS may take
 * a later entry of a batch and fail an earlier one. The next of a group goes out when the one before it is there.
 */
export class QueueSender {
  private readonly failures = new Map<number, Error>();
  /** The first of each group that has not been sent, in the order in which they came. */
  private readonly ready: Link[] = [];
  private readonly deadline = performance.now() + TOTAL_TIMEOUT_MS;
  private sending = 0;
  /** Why nothing more is sent. */
  private outage: Error | undefined;
  private finish: () => void = () => undefined;

  constructor(
    private readonly queue: SqsQueue,
    private readonly connection: SqsConnection,
    private readonly logger: Logger,
  ) {}

  /** Never rejects; answers the entries that are not proved to be in the queue, by index. */
  async send(entries: readonly Entry[]): Promise<ReadonlyMap<number, Error>> {
    const last = new Map<string, Link>();
    for (const entry of entries) {
      const link: Link = { entry };
      const before = last.get(entry.messageGroupId);
      if (before) before.next = link;
      else this.ready.push(link);
      last.set(entry.messageGroupId, link);
    }
    const finished = new Promise<void>((resolve) => (this.finish = resolve));
    this.pump();
    await finished;
    return this.failures;
  }

  private pump(): void {
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

  private takeBatch(): Link[] {
    let bytes = 0;
    let count = 0;
    for (const { entry } of this.ready) {
      bytes += entry.packed.bytes;
      if (count === MAX_BATCH_ENTRIES || bytes > this.queue.maxMessageBytes) break;
      count++;
    }
    return this.ready.splice(0, Math.max(1, count));
  }

  private async sendBatch(batch: readonly Link[]): Promise<void> {
    try {
      await this.sendEntries(batch);
    } catch (error) {
      if (isMissingQueue(error)) {
        for (const link of batch) this.fail(link, this.missingQueue(link.entry, error));
      } else if (!REFUSALS.has(nameOf(error))) {
        this.outage ??= unavailable(`queue "${this.queue.name}" took nothing`, error);
        for (const link of batch) this.fail(link, this.outage);
      } else if (batch.length === 1) {
        for (const link of batch) this.fail(link, this.refusal(link.entry, `${nameOf(error)}: ${(error as Error).message}`, error));
      } else {
        // It does not say which one it is.
        for (const link of batch) await this.sendBatch([link]);
      }
    }
  }

  private async sendEntries(batch: readonly Link[]): Promise<void> {
    const { Successful: successful = [], Failed: failed = [] } = await request(REQUEST_TIMEOUT_MS, (options) =>
      this.connection.publishing.sendMessageBatch({ QueueUrl: this.queue.url, Entries: batch.map(toRequestEntry) }, options),
    );
    const unanswered = new Map(batch.map((link, id) => [String(id), link]));
    const take = (id: string | undefined): Link | undefined => {
      const link = unanswered.get(id ?? '');
      if (!link) this.logger.error({ queue: this.queue.name, entryId: id }, 'SQS answered for an entry that was not sent');
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

  /** Answers for an entry and for those of its group behind it, which were not sent. */
  private fail({ entry, next }: Link, error: Error): void {
    this.failures.set(entry.index, error);
    for (let behind = next; behind; behind = behind.next) {
      const text = `event ${behind.entry.eventId} was not sent, because event ${entry.eventId} before it was refused`;
      this.failures.set(
        behind.entry.index,
        error instanceof MessageRejectedError ? new MessageRejectedError(text, { cause: error }) : error,
      );
    }
  }

  private refusal({ eventId }: Entry, reason: string, cause?: unknown): MessageRejectedError {
    return new MessageRejectedError(`queue "${this.queue.name}" refuses event ${eventId}: ${reason}`, { cause });
  }

  private missingQueue({ eventId }: Entry, cause: unknown): MessageRejectedError {
    return new MessageRejectedError(
      `event ${eventId} has nowhere to go: queue "${this.queue.name}" does not exist any more; start the application once with BROKER_PROVISION=true`,
      { cause },
    );
  }
}

function toRequestEntry({ entry }: Link, id: number): SendMessageBatchRequestEntry {
  return {
    Id: String(id),
    MessageBody: entry.packed.body,
    MessageAttributes: entry.packed.attributes,
    MessageGroupId: entry.messageGroupId,
    // SQS wants one. Nothing relies on it: SQS remembers it for five minutes only.
    MessageDeduplicationId: entry.deduplicationId,
  };
}
