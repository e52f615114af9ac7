import { describe, expect, it } from '@jest/globals';
import { messageGroupOf, SqsNames } from './sqs.names.js';

describe('SqsNames', () => {
  it('reads like the subscription', () => {
    const names = new SqsNames('waybill');
    const subscription = { group: 'inventory', topic: 'commerce.order' };
    expect(names.queue(subscription)).toBe('waybill-inventory-commerce_order.fifo');
    expect(names.undeliverable(subscription)).toBe('waybill-inventory-commerce_order-undeliverable.fifo');
    expect(names.topic('commerce.order.DLT')).toBe('waybill-commerce_order_DLT.fifo');
  });

  it('never gives two queues one name, and never one that SQS refuses', () => {
    const texts = ['a', 'b', 'a.b', 'a-b', 'a_b', 'a..b', 'undeliverable', '0123456789', 'ä', 'a b', 'x'.repeat(100), `${'x'.repeat(99)}y`];
    const owners = new Map<string, string>();
    for (const namespace of ['a', 'a-b', 'a.b', 'a_b']) {
      const names = new SqsNames(namespace);
      for (const group of texts) {
        for (const topic of texts) {
          for (const kind of ['queue', 'undeliverable'] as const) {
            const name = names[kind]({ group, topic });
            expect(name).toMatch(/^[A-Za-z0-9_-]{1,75}\.fifo$/);
            expect(owners.get(name)).toBeUndefined();
            owners.set(name, `${namespace} ${group} ${topic} ${kind}`);
          }
        }
      }
    }
  });

  it('takes a key for a message group where SQS can, and its hash elsewhere', () => {
    expect(messageGroupOf('01a20e7a-fe1f')).toBe('01a20e7a-fe1f');
    for (const key of ['', 'with space', 'ünï', 'x'.repeat(129), '🎉', 'line\nbreak'])
      expect(messageGroupOf(key)).toMatch(/^[0-9a-f]{64}$/);
    expect(messageGroupOf('ä')).not.toBe(messageGroupOf('ö'));
  });
});
