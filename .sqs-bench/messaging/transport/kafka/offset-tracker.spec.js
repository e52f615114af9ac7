import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { OffsetTracker } from './offset-tracker.js';
describe('OffsetTracker', () => {
  it('commits nothing before something is settled', () => {
    const tracker = new OffsetTracker();
    expect(tracker.committable).toBeUndefined();
    tracker.begin(5n);
    tracker.begin(6n);
    expect(tracker.committable).toBeUndefined();
    tracker.settle(6n);
    expect(tracker.committable).toBeUndefined();
  });
  it('commits up to the lowest that is not settled, and all when all are', () => {
    const tracker = new OffsetTracker();
    for (const offset of [5n, 6n, 8n, 9n]) tracker.begin(offset);
    tracker.settle(5n);
    expect(tracker.committable).toBe(6n);
    tracker.settle(8n);
    tracker.settle(9n);
    expect(tracker.committable).toBe(6n);
    tracker.settle(6n);
    expect(tracker.committable).toBe(10n);
  });
  it('has nothing to commit once it is committed', () => {
    const tracker = new OffsetTracker();
    tracker.begin(5n);
    tracker.settle(5n);
    tracker.committed(6n);
    expect(tracker.committable).toBeUndefined();
    tracker.committed(3n);
    expect(tracker.committable).toBeUndefined();
  });
  it('goes past records that are none of ours', () => {
    const tracker = new OffsetTracker();
    tracker.skipTo(7n);
    expect(tracker.committable).toBeUndefined();
    tracker.begin(7n);
    tracker.skipTo(12n);
    expect(tracker.committable).toBeUndefined();
    tracker.settle(7n);
    expect(tracker.committable).toBe(12n);
    tracker.skipTo(11n);
    expect(tracker.committable).toBe(12n);
  });
  it('knows what has begun and is not committed, and sees when the broker goes back behind it', () => {
    const tracker = new OffsetTracker();
    expect(tracker.knows(5n)).toBe(false);
    for (const offset of [5n, 6n, 7n]) tracker.begin(offset);
    tracker.settle(5n);
    expect([4n, 5n, 7n, 8n].map((offset) => tracker.knows(offset))).toEqual([false, true, true, false]);
    tracker.committed(6n);
    expect([5n, 6n].map((offset) => tracker.knows(offset))).toEqual([false, true]);
    expect([5n, 6n].map((offset) => tracker.precedes(offset))).toEqual([true, false]);
  });
  it('goes back to the lowest that is not settled', () => {
    const tracker = new OffsetTracker();
    expect(tracker.rewind()).toBeUndefined();
    for (const offset of [5n, 6n, 7n]) tracker.begin(offset);
    tracker.settle(5n);
    tracker.settle(7n);
    expect(tracker.rewind()).toBe(6n);
    expect(tracker.committable).toBe(6n);
    expect(tracker.knows(6n)).toBe(false);
    tracker.begin(6n);
    expect(() => tracker.begin(6n)).toThrow(RangeError);
  });
  it('never commits past what is not settled, and in the end all, in whatever order messages are settled', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.integer({
            min: 1,
            max: 4,
          }),
          {
            minLength: 1,
            maxLength: 60,
          },
        ),
        fc.infiniteStream(fc.nat()),
        (gaps, choices) => {
          const tracker = new OffsetTracker();
          const open = [];
          const pick = (below) => choices.next().value % below;
          let offset = 0n;
          let committed = 0n;
          const commit = () => {
            const next = tracker.committable;
            if (next === undefined) return;
            expect(next).toBeGreaterThan(committed);
            for (const unsettled of open) expect(next).toBeLessThanOrEqual(unsettled);
            committed = next;
            tracker.committed(next);
          };
          for (const gap of gaps) {
            offset += BigInt(gap);
            tracker.begin(offset);
            open.push(offset);
            while (open.length > 0 && pick(3) > 0) tracker.settle(open.splice(pick(open.length), 1)[0]);
            if (pick(2) > 0) commit();
          }
          for (const rest of open.splice(0)) tracker.settle(rest);
          commit();
          expect(committed).toBe(offset + 1n);
        },
      ),
    );
  });
});

//# sourceMappingURL=offset-tracker.spec.js.map
