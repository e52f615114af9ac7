/**
 * How far one partition is done. Offsets begin in rising order and are settled in any order; what may be committed
 * is the lowest that is not settled yet. It holds only what is open, however far the rest has run ahead.
 */ export class OffsetTracker {
  /** Begun and not settled, lowest first. */ open = new Set();
  /** All from here up to `next` has begun here. */ floor;
  next;
  /** Whether this offset has begun here already: it is open, or settled and not committed. */ knows(offset) {
    return this.floor !== undefined && this.next !== undefined && offset >= this.floor && offset < this.next;
  }
  /** Whether this offset comes before all that is known: the broker has gone back. */ precedes(offset) {
    return this.floor !== undefined && offset < this.floor;
  }
  /** @throws RangeError when the offset is not above all that have begun */ begin(offset) {
    if (this.next !== undefined && offset < this.next) throw new RangeError(`offset ${offset} begins after ${this.next - 1n}`);
    this.floor ??= offset;
    this.open.add(offset);
    this.next = offset + 1n;
  }
  settle(offset) {
    this.open.delete(offset);
  }
  /** There is nothing to deliver before this offset: gaps, and records that are none of ours. */ skipTo(offset) {
    this.floor ??= offset;
    if (this.next === undefined || offset > this.next) this.next = offset;
  }
  /** The offset to commit, or undefined when that would change nothing. */ get committable() {
    const done = this.open.values().next().value ?? this.next;
    return done !== undefined && this.floor !== undefined && done > this.floor ? done : undefined;
  }
  committed(offset) {
    if (this.floor !== undefined && offset > this.floor) this.floor = offset;
  }
  /** Forgets everything from the lowest open offset on and answers that offset; undefined when none is open. */ rewind() {
    const lowest = this.open.values().next().value;
    if (lowest === undefined) return undefined;
    this.open.clear();
    this.next = lowest;
    return lowest;
  }
}

//# sourceMappingURL=offset-tracker.js.map
