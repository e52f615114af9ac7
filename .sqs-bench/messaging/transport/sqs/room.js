/** So many places, shared by all who take some; whoever asked first gets some first. */ export class Room {
  free;
  waiting = [];
  closed = false;
  constructor(free) {
    this.free = free;
  }
  /** Resolves with 1 to `most` places as soon as there are any; with 0 once the room is closed. */ take(most) {
    if (this.closed) return Promise.resolve(0);
    return new Promise((admit) => {
      this.waiting.push({
        most,
        admit,
      });
      this.admit();
    });
  }
  give(places) {
    this.free += places;
    this.admit();
  }
  /** Lets nobody in any more. */ close() {
    this.closed = true;
    for (const { admit } of this.waiting.splice(0)) admit(0);
  }
  admit() {
    while (this.free > 0) {
      const next = this.waiting.shift();
      if (!next) return;
      const places = Math.min(next.most, this.free);
      this.free -= places;
      next.admit(places);
    }
  }
}

//# sourceMappingURL=room.js.map
