/**
 * The messages of one message group that came together. SQS hands out nothing else of the group while one of them
 * is invisible, so they share one fate: when one goes back to the queue, those behind it go back too.
 */ export class DeliveryGroup {
  id;
  deliveries;
  /** When they become visible to others, unless that is put off. */ visibleAt;
  lost = false;
  goesBack = false;
  follower;
  constructor(id, messages, receivedAt, visibilityMs) {
    this.id = id;
    this.visibleAt = receivedAt + visibilityMs;
    this.deliveries = messages.map((message) => ({
      message,
      receiptHandle: message.ReceiptHandle ?? '',
      receiveCount: Number(message.Attributes?.ApproximateReceiveCount ?? 1),
      abort: new AbortController(),
      isHeld: true,
    }));
  }
  get isLost() {
    return this.lost;
  }
  get held() {
    return this.deliveries.filter(({ isHeld }) => isHeld);
  }
  /** Others may have them now, or soon. */ lose(reason) {
    this.lost = true;
    this.stopFrom(0, reason);
  }
  /** Those behind a message that goes back must not be handled before it. */ stopBehind(delivery) {
    this.stopFrom(
      this.deliveries.indexOf(delivery) + 1,
      new Error('an earlier message of its key goes back to the queue, so this one does too'),
    );
  }
  /**
   * More of the same group has come while this is in hand. SQS itself never does that; ElasticMQ does after a
   * restart, because it keeps messages but not the lock of their group (tried on 1.7.1).
   */ isFollowedBy(later) {
    this.follower = later;
    if (this.goesBack) later.stopFrom(0, new Error('an earlier message of its key goes back to the queue, so this one does too'));
  }
  stopFrom(index, reason) {
    this.goesBack = true;
    for (const { abort, isHeld } of this.deliveries.slice(index)) if (isHeld) abort.abort(reason);
    this.follower?.stopFrom(0, reason);
  }
}
/** In the order in which they came. */ export function groupsOf(messages, receivedAt, visibilityMs) {
  const byGroup = new Map();
  for (const message of messages) {
    const id = message.Attributes?.MessageGroupId ?? message.MessageId ?? '';
    const group = byGroup.get(id);
    if (group) group.push(message);
    else byGroup.set(id, [message]);
  }
  return [...byGroup].map(([id, members]) => new DeliveryGroup(id, members, receivedAt, visibilityMs));
}

//# sourceMappingURL=sqs.delivery-group.js.map
