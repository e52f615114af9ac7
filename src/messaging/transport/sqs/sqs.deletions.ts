import { afterThisTurn } from '../../../database/after-this-turn.js';
import type { Logger } from '../../../observability/logger.js';
import { backoffMs } from '../backoff.js';
import { request, type SqsConnection } from './sqs.connection.js';
import type { Delivery } from './sqs.delivery-group.js';
import { MAX_BATCH_ENTRIES } from './sqs.settings.js';
import type { SqsQueue } from './sqs.topology.js';

const PARALLEL = 4;
const REQUEST_TIMEOUT_MS = 5_000;
const MIN_TRIES = 3;
const RETRY_BASE_MS = 200;
const RETRY_MAX_MS = 2_000;
/** Somebody else has it, or it is gone: trying again changes nothing. */
const HANDLE_IS_OLD = /^(ReceiptHandleIsInvalid|InvalidParameterValue|InvalidIdFormat|MessageNotInflight)/;

interface Deletion {
  readonly delivery: Delivery;
  readonly until: number;
  readonly done: () => void;
  tries: number;
}

/** Tells SQS of messages that are settled, as many at once as are waiting for it. */
export class Deletions {
  private readonly waiting: Deletion[] = [];
  private sending = 0;
  private readonly startSoon = afterThisTurn(() => this.start());

  constructor(
    private readonly queue: SqsQueue,
    private readonly connection: SqsConnection,
    private readonly logger: Logger,
  ) {}

  /**
   * Resolves when the message is gone, or when it had to be left to be delivered again. Never rejects. Until the
   * message becomes visible it is worth trying: as long as it is there, nothing else of its group is handed out.
   */
  delete(delivery: Delivery, until: number): Promise<void> {
    return new Promise((done) => {
      this.waiting.push({ delivery, until, done, tries: 0 });
      this.startSoon();
    });
  }

  private start(): void {
    // A full batch need not wait for the one before it.
    while (this.waiting.length > 0 && (this.sending === 0 || (this.sending < PARALLEL && this.waiting.length >= MAX_BATCH_ENTRIES))) {
      this.sending++;
      void this.send(this.waiting.splice(0, MAX_BATCH_ENTRIES)).then(() => {
        this.sending--;
        if (this.waiting.length > 0) this.startSoon();
      });
    }
  }

  private async send(batch: readonly Deletion[]): Promise<void> {
    for (const deletion of batch) deletion.tries++;
    const failed = await this.attempt(batch);
    for (const deletion of batch) {
      const reason = failed.get(deletion);
      const fields = { queue: this.queue.name, messageId: deletion.delivery.message.MessageId, reason };
      if (reason === undefined) deletion.done();
      else if (HANDLE_IS_OLD.test(reason)) {
        this.logger.debug(fields, 'a settled message is not ours to delete any more; it is delivered again, and recognised');
        deletion.done();
      } else if ((deletion.tries >= MIN_TRIES && performance.now() > deletion.until) || this.connection.isClosed) {
        this.logger.warn(fields, 'a settled message could not be deleted; it is delivered again, and recognised');
        deletion.done();
      } else {
        setTimeout(
          () => {
            this.waiting.push(deletion);
            this.startSoon();
          },
          backoffMs(deletion.tries, RETRY_BASE_MS, RETRY_MAX_MS),
        );
      }
    }
  }

  private async attempt(batch: readonly Deletion[]): Promise<ReadonlyMap<Deletion, string>> {
    const entries = batch.map(({ delivery }, id) => ({ Id: String(id), ReceiptHandle: delivery.receiptHandle }));
    try {
      const { Successful: successful = [], Failed: failed = [] } = await request(REQUEST_TIMEOUT_MS, (options) =>
        this.connection.settling.deleteMessageBatch({ QueueUrl: this.queue.url, Entries: entries }, options),
      );
      const failures = new Map(batch.map((deletion) => [deletion, 'no answer']));
      for (const { Id: id } of successful) failures.delete(batch[Number(id)] as Deletion);
      for (const { Id: id, Code: code = 'unknown' } of failed) failures.set(batch[Number(id)] as Deletion, code);
      return failures;
    } catch (error) {
      return new Map(batch.map((deletion) => [deletion, (error as Error).message]));
    }
  }
}
