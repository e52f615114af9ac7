import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { createLogger } from '../observability/create-logger.js';
import { HealthRegistry } from './health-registry.js';

const silent = createLogger({ instance: 'test', log: { level: 'silent', format: 'json' } });

describe('HealthRegistry', () => {
  let health: HealthRegistry;

  beforeEach(() => {
    jest.useFakeTimers();
    health = new HealthRegistry(silent);
  });

  afterEach(() => {
    health.onApplicationShutdown();
    jest.useRealTimers();
  });

  it('is not ready before everything was checked once', async () => {
    health.register('database', () => undefined);
    expect(health.reasons()).toEqual([{ name: 'database', reason: 'not checked yet' }]);
    await health.onApplicationBootstrap();
    expect(health.reasons()).toEqual([]);
  });

  it('goes red with every reason, and green again by itself', async () => {
    let broken = false;
    health.register('database', () => (broken ? Promise.reject(new Error('connection refused')) : Promise.resolve()));
    health.register('broker', () => {
      if (broken) throw new Error('no answer');
    });
    await health.onApplicationBootstrap();
    broken = true;
    await jest.advanceTimersByTimeAsync(2000);
    expect(health.reasons()).toEqual([
      { name: 'database', reason: 'connection refused' },
      { name: 'broker', reason: 'no answer' },
    ]);
    broken = false;
    await jest.advanceTimersByTimeAsync(2000);
    expect(health.reasons()).toEqual([]);
  });

  it('goes red within 10 s when what is checked hangs, and does not ask again meanwhile', async () => {
    let calls = 0;
    let answer: () => void = () => undefined;
    let hangs = false;
    health.register('database', () => {
      calls += 1;
      return hangs ? new Promise<void>((resolve) => (answer = resolve)) : Promise.resolve();
    });
    await health.onApplicationBootstrap();
    hangs = true;
    await jest.advanceTimersByTimeAsync(10_000);
    expect(health.reasons()).toEqual([{ name: 'database', reason: 'did not answer within 8 s' }]);
    await jest.advanceTimersByTimeAsync(20_000);
    expect(calls).toBe(2);
    hangs = false;
    answer();
    await jest.advanceTimersByTimeAsync(2000);
    expect(health.reasons()).toEqual([]);
    expect(calls).toBe(3);
  });

  it.each([
    [new Error('connect to amqp://app:hunter2@mq:5672\nfailed'), 'connect to amqp://…@mq:5672 failed'],
    [new AggregateError([new Error('connect ECONNREFUSED ::1:5432')]), 'connect ECONNREFUSED ::1:5432'],
    [Object.assign(new Error(''), { code: 'ETIMEDOUT' }), 'ETIMEDOUT'],
    [new Error('x'.repeat(1000)), 'x'.repeat(300)],
  ])('says the reason in one line without credentials: %s', async (error, reason) => {
    health.register('broker', () => Promise.reject(error));
    await health.onApplicationBootstrap();
    expect(health.reasons()).toEqual([{ name: 'broker', reason }]);
  });

  it('is red from the first moment of a shutdown, whatever the checks say', async () => {
    health.register('database', () => undefined);
    await health.onApplicationBootstrap();
    health.markStopping();
    expect(health.reasons()).toEqual([{ name: 'process', reason: 'shutting down' }]);
  });
});
