import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { ConsumeMessage } from 'amqplib';
import fc from 'fast-check';
import { Acknowledgements } from './acknowledgements.js';

const delivery = (deliveryTag: number): ConsumeMessage => ({ fields: { deliveryTag } }) as ConsumeMessage;

/** What the broker makes of it: the deliveries that are not acknowledged. */
class Broker {
  readonly held = new Set<number>();
  readonly words: string[] = [];
  broken: Error | undefined;

  deliver(tag: number): ConsumeMessage {
    this.held.add(tag);
    return delivery(tag);
  }

  ack({ fields: { deliveryTag } }: { fields: { deliveryTag: number } }, allUpTo = false): void {
    if (this.broken) throw this.broken;
    if (!this.held.has(deliveryTag)) throw new Error(`PRECONDITION_FAILED - unknown delivery tag ${deliveryTag}`);
    this.words.push(allUpTo ? `all up to ${deliveryTag}` : `${deliveryTag}`);
    for (const tag of this.held) if (tag === deliveryTag || (allUpTo && tag < deliveryTag)) this.held.delete(tag);
  }
}

function given(...tags: number[]) {
  const broker = new Broker();
  const down: Error[] = [];
  const acknowledgements = new Acknowledgements(broker, (reason) => down.push(reason));
  for (const tag of tags) acknowledgements.received(broker.deliver(tag));
  return { broker, down, acknowledgements };
}

describe('acknowledging the deliveries of a channel', () => {
  it('says it in one word for all that are settled up to the first that is not', () => {
    const { broker, acknowledgements } = given(1, 2, 3, 4, 5);
    for (const tag of [3, 1, 2, 5]) acknowledgements.settle(delivery(tag));
    acknowledgements.flush();
    expect(broker.words).toEqual(['all up to 3', '5']);
    expect([...broker.held]).toEqual([4]);
    expect(acknowledgements.pending).toBe(1);
  });

  describe('by itself', () => {
    beforeEach(() => void jest.useFakeTimers());
    afterEach(() => void jest.useRealTimers());

    it('says it a few milliseconds after the first is settled, with whatever is settled by then', () => {
      const { broker, acknowledgements } = given(1, 2, 3);
      acknowledgements.settle(delivery(1));
      jest.advanceTimersByTime(4);
      acknowledgements.settle(delivery(2));
      expect(broker.words).toEqual([]);
      jest.advanceTimersByTime(1);
      expect(broker.words).toEqual(['all up to 2']);
      acknowledgements.settle(delivery(3));
      jest.advanceTimersByTime(5);
      expect(broker.words).toEqual(['all up to 2', 'all up to 3']);
    });

    it('says it once the turn is over where half of what a queue gives ahead is settled, and then nothing more', () => {
      const tags = Array.from({ length: 20 }, (_, index) => index + 1);
      const { broker, acknowledgements } = given(...tags);
      for (const tag of tags) acknowledgements.settle(delivery(tag));
      expect(broker.words).toEqual([]);
      jest.advanceTimersByTime(0); // runs immediates
      expect(broker.words).toEqual(['all up to 20']);
      expect(jest.getTimerCount()).toBe(0);
    });

    it('says nothing once the channel is lost', () => {
      const { broker, acknowledgements } = given(1);
      acknowledgements.settle(delivery(1));
      acknowledgements.lose();
      expect(jest.getTimerCount()).toBe(0);
      jest.advanceTimersByTime(5);
      expect(broker.words).toEqual([]);
    });
  });

  it('acknowledges what is settled and nothing else, in whatever order that happens', () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.constant({ do: 'deliver' as const, which: 0 }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('settle' as const), which: fc.nat(20) }) },
      { weight: 1, arbitrary: fc.constant({ do: 'flush' as const, which: 0 }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { broker, down, acknowledgements } = given();
        const unsettled: number[] = [];
        let last = 0;
        for (const { do: what, which } of [...steps, { do: 'flush' as const, which: 0 }]) {
          if (what === 'deliver') {
            unsettled.push(++last);
            acknowledgements.received(broker.deliver(last));
          } else if (what === 'settle') {
            const [tag] = unsettled.splice(which % Math.max(1, unsettled.length), 1);
            if (tag !== undefined) acknowledgements.settle(delivery(tag));
          } else {
            acknowledgements.flush();
            expect([...broker.held]).toEqual(unsettled);
            expect(acknowledgements.pending).toBe(unsettled.length);
          }
        }
        expect(down).toEqual([]);
      }),
    );
  });

  it('has nothing left to say once the channel is lost', () => {
    const { broker, acknowledgements } = given(1, 2);
    acknowledgements.settle(delivery(1));
    acknowledgements.lose();
    acknowledgements.flush();
    expect(broker.words).toEqual([]);
    expect(acknowledgements.pending).toBe(0);
  });

  it('tells of a channel that takes nothing any more', () => {
    const { broker, down, acknowledgements } = given(1);
    broker.broken = new Error('Channel closed');
    acknowledgements.settle(delivery(1));
    acknowledgements.flush();
    expect(down).toEqual([broker.broken]);
  });
});
