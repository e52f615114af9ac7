import type { Message } from '@aws-sdk/client-sqs';
import { describe, expect, it } from '@jest/globals';
import { DeliveryGroup, groupsOf, type Delivery } from './sqs.delivery-group.js';

function message(group: string, id: string): Message {
  return { MessageId: id, ReceiptHandle: `handle of ${id}`, Attributes: { MessageGroupId: group, ApproximateReceiveCount: '2' } };
}

function group(...ids: string[]): DeliveryGroup {
  return groupsOf(
    ids.map((id) => message('a', id)),
    1000,
    30_000,
  )[0] as DeliveryGroup;
}

function aborted({ deliveries }: DeliveryGroup): (string | undefined)[] {
  return deliveries.filter(({ abort }) => abort.signal.aborted).map(({ message: { MessageId: id } }) => id);
}

describe('DeliveryGroup', () => {
  it('parts what came by message group, in order', () => {
    const groups = groupsOf([message('a', '1'), message('b', '2'), message('a', '3')], 1000, 30_000);
    expect(groups.map(({ id, deliveries }) => [id, deliveries.map((delivery) => delivery.message.MessageId)])).toEqual([
      ['a', ['1', '3']],
      ['b', ['2']],
    ]);
    expect(groups[0]).toMatchObject({ visibleAt: 31_000, isLost: false });
    expect(groups[0]?.deliveries[0]).toMatchObject({ receiptHandle: 'handle of 1', receiveCount: 2, isHeld: true });
  });

  it('stops what is behind a message that goes back, and nothing that is settled', () => {
    const some = group('1', '2', '3', '4');
    (some.deliveries[2] as Delivery).isHeld = false;
    some.stopBehind(some.deliveries[1] as Delivery);
    expect(aborted(some)).toEqual(['4']);
    expect(some.isLost).toBe(false);
  });

  it('stops what followed it as well, whichever came first', () => {
    const [first, second, third] = [group('1', '2'), group('3'), group('4')];
    first.isFollowedBy(second);
    first.stopBehind(first.deliveries[0] as Delivery);
    second.isFollowedBy(third);
    expect([first, second, third].map(aborted)).toEqual([['2'], ['3'], ['4']]);
  });

  it('tells all that it holds when it is lost', () => {
    const [first, second] = [group('1', '2'), group('3')];
    first.isFollowedBy(second);
    first.lose(new Error('lost'));
    expect([first, second].map(aborted)).toEqual([['1', '2'], ['3']]);
    expect([first.isLost, second.isLost]).toEqual([true, false]);
    expect(first.deliveries[0]?.abort.signal.reason).toEqual(new Error('lost'));
  });
});
