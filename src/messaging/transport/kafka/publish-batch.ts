import { messageBytes, MessageRejectedError, type OutgoingMessage } from '../broker-adapter.js';
import { isRecordFault, isTopicFault, protocolTypeOf } from './kafka.errors.js';
import { recordBytesOf } from './kafka.message.js';
import { MAX_MESSAGE_BYTES } from './kafka.settings.js';

/** All partitions of one request together; the broker's limit is for each of them. */
const MAX_REQUEST_BYTES = 900_000;
const MAX_REQUEST_RECORDS = 2_000;

interface Entry {
  readonly index: number;
  readonly message: OutgoingMessage;
  /** Payload and headers. */
  readonly bytes: number;
  /** Topic and key. */
  readonly orderedBy: string;
}

export interface PublishBatchParts {
  /** One request; resolves on the broker's proof of all of it, else rejects with what kafkajs threw. */
  readonly send: (messages: readonly OutgoingMessage[]) => Promise<void>;
  /** Where a message will go; messages of one answer share their fate at the broker. */
  readonly partitionOf: (message: OutgoingMessage) => string;
  /** Topics that exist as far as is known; that one of them is unknown to the broker is an outage. */
  readonly isKnown: (topic: string) => boolean;
  /** The last batch failed: ask each partition by itself, so that a dead one does not hold up the others. */
  readonly careful: boolean;
  readonly unavailable: (cause: unknown) => Error;
}

/**
 * One batch on its way to Kafka. kafkajs tells of the first failure of a request only, not of which partition, so a
 * request that the broker refused is sent again in parts until each answer stands for itself: by partition, whose
 * records are taken or refused as a whole, then by halves. Records that were taken the first time are then there twice;
 * nothing is lost and no key is out of order.
 */
export class PublishBatch {
  private readonly outcomes: (Error | undefined)[];
  private readonly entries: readonly Entry[];
  /** The first failure of each key; nothing of that key is sent after it. */
  private readonly failedKeys = new Map<string, { entry: Entry; error: Error }>();
  /** Partitions that could not be reached. */
  private readonly silent = new Map<string, Error>();
  /** The first failure that is not a message's own fault. */
  private trouble: Error | undefined;
  /** The broker did not answer, so it need not be asked for the rest. */
  private cutOff: Error | undefined;

  constructor(
    messages: readonly OutgoingMessage[],
    private readonly parts: PublishBatchParts,
  ) {
    this.outcomes = new Array<Error | undefined>(messages.length).fill(undefined);
    this.entries = messages.map((message, index) => ({
      index,
      message,
      bytes: messageBytes(message),
      orderedBy: `${message.topic}\0${message.key}`,
    }));
  }

  /** Whether something failed that is not a message's own fault. */
  get interrupted(): boolean {
    return this.trouble !== undefined;
  }

  async run(): Promise<readonly (Error | undefined)[]> {
    let chunk: Entry[] = [];
    let bytes = 0;
    for (const entry of this.entries) {
      if (!this.isDue(entry)) continue;
      const size = recordBytesOf(entry.message, entry.bytes);
      if (chunk.length > 0 && (bytes + size > MAX_REQUEST_BYTES || chunk.length >= MAX_REQUEST_RECORDS)) {
        await this.sendChunk(chunk);
        chunk = [];
        bytes = 0;
        if (!this.isDue(entry)) continue;
      }
      chunk.push(entry);
      bytes += size;
    }
    await this.sendChunk(chunk);
    return this.outcomes;
  }

  /** Whether the entry may be sent now; if not, it has been answered for. */
  private isDue(entry: Entry): boolean {
    const failed = this.failedKeys.get(entry.orderedBy);
    if (failed && failed.entry.index < entry.index) {
      this.outcomes[entry.index] = behind(entry, failed);
      return false;
    }
    const unreached = this.parts.careful ? this.silent.get(this.parts.partitionOf(entry.message)) : this.cutOff;
    if (unreached) {
      this.fail([entry], unreached);
      return false;
    }
    const { bytes } = entry;
    if (bytes > MAX_MESSAGE_BYTES) {
      this.refuse(entry, `it has ${bytes} bytes, at most ${MAX_MESSAGE_BYTES} are accepted`);
      return false;
    }
    return true;
  }

  private async sendChunk(chunk: readonly Entry[]): Promise<void> {
    if (chunk.length === 0) return;
    await (this.parts.careful ? this.attemptEach(chunk) : this.attempt(chunk));
  }

  /** Each partition by itself. Topics go one after the other, because kafkajs loses sight of all of them while it looks for one that is unknown. */
  private async attemptEach(entries: readonly Entry[]): Promise<void> {
    for (const ofTopic of grouped(entries, ({ message }) => message.topic)) {
      await Promise.all(grouped(ofTopic, ({ message }) => this.parts.partitionOf(message)).map((group) => this.attempt(group)));
    }
  }

  private async attempt(group: readonly Entry[]): Promise<void> {
    const due = group.filter((entry) => this.isDue(entry));
    if (due.length === 0) return;
    try {
      await this.parts.send(due.map(({ message }) => message));
    } catch (error) {
      await this.isolate(due, error);
    }
  }

  private async isolate(due: readonly Entry[], error: unknown): Promise<void> {
    const type = protocolTypeOf(error);
    if (type === undefined) {
      this.failAll(due, error);
      this.cutOff ??= this.trouble;
      return;
    }
    if (new Set(due.map(({ message }) => this.parts.partitionOf(message))).size > 1) {
      await this.attemptEach(due);
      return;
    }
    const [first] = due as readonly [Entry, ...Entry[]];
    if (isTopicFault(type) && !this.parts.isKnown(first.message.topic)) {
      for (const entry of due) {
        if (this.isDue(entry)) this.refuse(entry, `Kafka has no topic "${entry.message.topic}" for this user`, error);
      }
    } else if (!isRecordFault(type)) this.failAll(due, error);
    else if (due.length === 1) this.refuse(first, (error as Error).message, error);
    else {
      const half = Math.ceil(due.length / 2);
      await this.attempt(due.slice(0, half));
      await this.attempt(due.slice(half));
    }
  }

  private failAll(due: readonly Entry[], cause: unknown): void {
    const failure = this.parts.unavailable(cause);
    this.trouble ??= failure;
    for (const { message } of due) this.silent.set(this.parts.partitionOf(message), failure);
    this.fail(due, failure);
  }

  private refuse(entry: Entry, reason: string, cause?: unknown): void {
    this.fail(
      [entry],
      new MessageRejectedError(`Kafka cannot take event ${entry.message.eventId} on topic "${entry.message.topic}": ${reason}`, { cause }),
    );
  }

  private fail(entries: readonly Entry[], error: Error): void {
    for (const entry of entries) {
      this.outcomes[entry.index] = error;
      const former = this.failedKeys.get(entry.orderedBy);
      if (!former || entry.index < former.entry.index) this.failedKeys.set(entry.orderedBy, { entry, error });
    }
  }
}

function grouped(entries: readonly Entry[], by: (entry: Entry) => string): readonly (readonly Entry[])[] {
  const groups = new Map<string, Entry[]>();
  for (const entry of entries) {
    const name = by(entry);
    const group = groups.get(name);
    if (group) group.push(entry);
    else groups.set(name, [entry]);
  }
  return [...groups.values()];
}

function behind({ message }: Entry, failed: { entry: Entry; error: Error }): Error {
  if (!(failed.error instanceof MessageRejectedError)) return failed.error;
  return new MessageRejectedError(`event ${message.eventId} was not sent, because ${failed.entry.message.eventId} before it was refused`, {
    cause: failed.error,
  });
}
