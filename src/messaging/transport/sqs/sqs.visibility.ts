import type { Logger } from '../../../observability/logger.js';
import { request, type SqsConnection } from './sqs.connection.js';
import type { Delivery, DeliveryGroup } from './sqs.delivery-group.js';
import { MAX_BATCH_ENTRIES } from './sqs.settings.js';
import type { SqsQueue } from './sqs.topology.js';

const REQUEST_TIMEOUT_MS = 5_000;
/** What goes back rests so long, so that it does not come round and round. */
const RELEASE_SECONDS = 1;

/** Keeps what is in hand invisible to others for as long as it is, from the moment it was received. */
export class VisibilityKeeper {
  private readonly groups = new Set<DeliveryGroup>();
  private readonly visibilityMs: number;
  private readonly timer: NodeJS.Timeout;
  private beating: Promise<void> | undefined;

  constructor(
    private readonly queue: SqsQueue,
    private readonly visibilitySeconds: number,
    private readonly connection: SqsConnection,
    private readonly logger: Logger,
  ) {
    this.visibilityMs = visibilitySeconds * 1000;
    this.timer = setInterval(() => this.tick(), this.visibilityMs / 6);
  }

  hold(group: DeliveryGroup): void {
    this.groups.add(group);
  }

  drop(group: DeliveryGroup): void {
    this.groups.delete(group);
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** Gives them back, the last one first: an earlier one must not become visible after a later one. */
  async release(deliveries: readonly Delivery[]): Promise<void> {
    await this.beating; // its longer time-out must not arrive after ours
    try {
      await this.change([...deliveries].reverse(), RELEASE_SECONDS);
    } catch (error) {
      this.logger.debug({ queue: this.queue.name, err: error }, 'messages could not be given back; their visibility time-out does it');
    }
  }

  private tick(): void {
    const now = performance.now();
    for (const group of this.groups) {
      // A tenth early, because our clock starts when the receive began, and SQS's later, but a message takes time, too.
      if (now > group.visibleAt - this.visibilityMs / 10)
        group.lose(new Error('its visibility could not be prolonged in time; SQS delivers it again'));
    }
    this.beating ??= this.beat(now).finally(() => (this.beating = undefined));
  }

  /** Prolongs what has used up a third of its time. */
  private async beat(now: number): Promise<void> {
    const due = [...this.groups].filter(({ isLost, visibleAt }) => !isLost && visibleAt - now < (this.visibilityMs * 2) / 3 + 1);
    const work: Promise<void>[] = [];
    while (due.length > 0) work.push(this.prolong(takeGroups(due), now));
    await Promise.all(work);
  }

  private async prolong(groups: readonly DeliveryGroup[], now: number): Promise<void> {
    const owners = new Map<Delivery, DeliveryGroup>(groups.flatMap((group) => group.held.map((delivery) => [delivery, group] as const)));
    if (owners.size === 0) return;
    try {
      const failed = await this.change([...owners.keys()], this.visibilitySeconds);
      for (const group of groups) group.visibleAt = now + this.visibilityMs;
      for (const [delivery, reason] of failed) {
        // What was settled meanwhile is deleted, and has no visibility any more.
        if (delivery.isHeld) owners.get(delivery)?.lose(new Error(`its visibility could not be prolonged: ${reason}`));
      }
    } catch (error) {
      this.logger.warn(
        { queue: this.queue.name, messages: owners.size, err: error },
        'a heartbeat failed; the next one may still be in time',
      );
    }
  }

  private async change(deliveries: readonly Delivery[], seconds: number): Promise<ReadonlyMap<Delivery, string>> {
    const failures = new Map<Delivery, string>();
    for (let from = 0; from < deliveries.length; from += MAX_BATCH_ENTRIES) {
      const batch = deliveries.slice(from, from + MAX_BATCH_ENTRIES);
      const entries = batch.map(({ receiptHandle }, id) => ({ Id: String(id), ReceiptHandle: receiptHandle, VisibilityTimeout: seconds }));
      const { Failed: failed = [] } = await request(REQUEST_TIMEOUT_MS, (options) =>
        this.connection.settling.changeMessageVisibilityBatch({ QueueUrl: this.queue.url, Entries: entries }, options),
      );
      for (const { Id: id, Code: code = 'unknown' } of failed) {
        const delivery = batch[Number(id)];
        if (delivery) failures.set(delivery, code);
      }
    }
    return failures;
  }
}

/** As many groups as fit into one request; a group stays together, so that its messages become visible together. */
function takeGroups(due: DeliveryGroup[]): DeliveryGroup[] {
  let count = 0;
  let messages = 0;
  for (const group of due) {
    messages += group.held.length;
    if (count > 0 && messages > MAX_BATCH_ENTRIES) break;
    count++;
  }
  return due.splice(0, count);
}
