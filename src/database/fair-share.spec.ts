import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { FairShare, type Claimant } from './fair-share.js';

const TIMEOUT_MS = 1000;

/** Everybody who has come, by name, and who has been let in, in that order. */
class Line {
  readonly inside: string[] = [];
  readonly refused: string[] = [];
  private readonly shares: FairShare;
  private readonly held: Claimant[] = [];

  constructor(places: number) {
    this.shares = new FairShare(places, TIMEOUT_MS);
  }

  async come(claimant: Claimant, name: string): Promise<void> {
    void this.shares.enter(claimant).then(
      () => {
        this.inside.push(name);
        this.held.push(claimant);
      },
      (error: Error) => this.refused.push(`${name}: ${error.message}`),
    );
    await settled();
  }

  async go(claimant: Claimant): Promise<void> {
    this.held.splice(this.held.indexOf(claimant), 1);
    this.shares.leave(claimant);
    await settled();
  }

  holds(claimant: Claimant): number {
    return this.held.filter((one) => one === claimant).length;
  }
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await Promise.resolve();
}

describe('sharing connections', () => {
  beforeEach(() => void jest.useFakeTimers());
  afterEach(() => void jest.useRealTimers());

  it('gives all of them to events while no request wants one', async () => {
    const line = new Line(3);
    for (const name of ['e1', 'e2', 'e3', 'e4', 'e5']) await line.come('event', name);
    expect(line.inside).toEqual(['e1', 'e2', 'e3']);
    await line.go('event');
    expect(line.inside).toEqual(['e1', 'e2', 'e3', 'e4']);
  });

  it('gives the next one to a request, however many events wait, until each has half', async () => {
    const line = new Line(4);
    for (let n = 1; n <= 100; n++) await line.come('event', `e${n}`);
    for (let n = 1; n <= 100; n++) await line.come('request', `r${n}`);
    expect(line.inside).toEqual(['e1', 'e2', 'e3', 'e4']);
    await line.go('event');
    await line.go('event');
    expect(line.inside.slice(4)).toEqual(['r1', 'r2']);
    await line.go('event');
    await line.go('request');
    await line.go('request');
    expect(line.inside.slice(6)).toEqual(['e5', 'r3', 'r4']);
  });

  it('lets events have their half of them while requests keep coming', async () => {
    const line = new Line(4);
    for (let n = 1; n <= 100; n++) await line.come('request', `r${n}`);
    for (let n = 1; n <= 100; n++) await line.come('event', `e${n}`);
    await line.go('request');
    await line.go('request');
    await line.go('request');
    expect(line.inside.slice(4)).toEqual(['e1', 'e2', 'r5']);
  });

  it('turns away who has waited too long, and nobody else', async () => {
    const line = new Line(1);
    await line.come('event', 'e1');
    await line.come('request', 'r1');
    jest.advanceTimersByTime(TIMEOUT_MS - 1);
    await line.come('request', 'r2');
    jest.advanceTimersByTime(1);
    await settled();
    expect(line.refused).toEqual([
      `r1: timeout exceeded when trying to connect: all 1 connections were in use for ${TIMEOUT_MS} ms (DATABASE_POOL_SIZE)`,
    ]);
    await line.go('event');
    expect(line.inside).toEqual(['e1', 'r2']);
    await line.go('request');
    await line.come('event', 'e2');
    expect(line.inside).toEqual(['e1', 'r2', 'e2']);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('never lends more than there are, leaves none idle, and serves both kinds in their order', async () => {
    const steps = fc.array(
      fc.record({ comes: fc.boolean(), claimant: fc.constantFrom<Claimant>('request', 'event') }),
      { minLength: 1, maxLength: 60 }, // prettier-ignore
    );
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 5 }), steps, async (places, program) => {
        const line = new Line(places);
        const come: Record<Claimant, string[]> = { request: [], event: [] };
        for (const [index, { comes, claimant }] of program.entries()) {
          const before = { request: line.holds('request'), event: line.holds('event') };
          if (comes) {
            come[claimant].push(`${claimant} ${index}`);
            await line.come(claimant, `${claimant} ${index}`);
          } else if (before[claimant] > 0) await line.go(claimant);
          const lent = line.holds('request') + line.holds('event');
          const waits = come.request.length + come.event.length - line.inside.length;
          expect(lent).toBeLessThanOrEqual(places);
          if (waits > 0) expect(lent).toBe(places);
          for (const kind of ['request', 'event'] as const) {
            const served = line.inside.filter((name) => name.startsWith(kind));
            expect(served).toEqual(come[kind].slice(0, served.length));
            // Who holds more than the other gets no more of what the other waits for.
            const other = kind === 'request' ? 'event' : 'request';
            const otherWaits = come[other].length > line.inside.filter((name) => name.startsWith(other)).length;
            if (otherWaits && before[kind] > before[other] && before.request + before.event === places)
              expect(line.holds(kind)).toBeLessThanOrEqual(before[kind]);
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});
