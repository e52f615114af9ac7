import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, Module, Post, Put } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { ConfigModule } from '../../src/config/config.module.js';
import { readConfig } from '../../src/config/read-config.js';
import { HealthController } from '../../src/health/health.controller.js';
import { HealthRegistry } from '../../src/health/health-registry.js';
import { createHttpAdapter, OperatorOnly, setUpHttp } from '../../src/http/index.js';
import { createLogger } from '../../src/observability/create-logger.js';
import { ObservabilityModule } from '../../src/observability/observability.module.js';
import { eventually } from '../support/eventually.js';

const TOKEN = 'operators-secret';
const SECRET = 'canary-4711';

/** Without the decorator that it ought to have. */
@Controller('ops')
class ForgottenController {
  @Get('secrets')
  secrets(): string {
    return SECRET;
  }

  @Post('secrets')
  change(): string {
    return SECRET;
  }
}

@Controller('things')
class ThingsController {
  @Put()
  @OperatorOnly()
  put(): string {
    return SECRET;
  }

  @Get()
  fail(): never {
    throw Object.assign(new Error(`a service of others answered ${SECRET}`), { statusCode: 404, status: 404 });
  }
}

interface Server {
  readonly app: NestFastifyApplication;
  readonly url: string;
  readonly lines: string[];
}

const running: Server[] = [];

async function start(env: Record<string, string> = {}): Promise<Server> {
  const config = readConfig({ OPS_TOKEN: TOKEN, LOG_LEVEL: 'debug', ...env }, { terminal: false });
  const lines: string[] = [];
  const logger = createLogger(config, { write: (line: string) => void lines.push(line) });
  @Module({
    imports: [ConfigModule.for(config), ObservabilityModule.for(logger)],
    controllers: [ForgottenController, ThingsController, HealthController],
    providers: [HealthRegistry],
  })
  class LocksModule {}
  const app = await NestFactory.create<NestFastifyApplication>(LocksModule, createHttpAdapter(config, logger), {
    logger: false,
    abortOnError: false,
  });
  setUpHttp(app, config, logger);
  await app.listen(0, '127.0.0.1');
  const server = { app, url: await app.getUrl(), lines };
  running.push(server);
  return server;
}

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly problem: Record<string, unknown>;
}

async function ask({ url }: Server, method: string, path: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(`${url}${path}`, { method, ...init });
  const text = await response.text();
  if (response.status >= 400) expect(response.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  return {
    status: response.status,
    text,
    problem: response.status >= 400 && method !== 'HEAD' ? (JSON.parse(text) as Record<string, unknown>) : {},
  };
}

afterEach(async () => {
  await Promise.all(running.splice(0).map(({ app }) => app.close()));
});

describe('what is under /ops', () => {
  it('is for operators even when its controller forgot to say so', async () => {
    const server = await start();
    for (const method of ['GET', 'HEAD', 'POST'])
      expect((await ask(server, method, '/ops/secrets').catch(() => ({ status: 401 }))).status).toBe(401);
    const headers = { authorization: `Bearer ${TOKEN}` };
    expect(await ask(server, 'GET', '/ops/secrets', { headers })).toMatchObject({ status: 200, text: SECRET });
  });

  it('asks for the token before it reads the body', async () => {
    const server = await start();
    for (const [type, body] of [
      ['application/json', '{"broken":'],
      ['text/plain', 'text'],
      ['application/json', 'x'.repeat(2 * 1024 * 1024)],
    ] as const) {
      expect((await ask(server, 'POST', '/ops/secrets', { body, headers: { 'content-type': type } })).status).toBe(401);
    }
  });

  it.each([
    '//ops/secrets',
    '/ops//secrets',
    '/OPS/secrets',
    '/ops/secrets/',
    '/%6fps/secrets',
    '/ops/%73ecrets',
    '/ops%2fsecrets',
    '/ops/secrets;x',
  ])('has no side door at %s', async (path) => {
    const answer = await ask(await start(), 'GET', path);
    expect([401, 404]).toContain(answer.status);
    expect(answer.text).not.toContain(SECRET);
  });

  it('shows by no method that it is there: 401 without the token, and what answers nowhere when none is configured', async () => {
    const server = await start();
    expect((await ask(server, 'DELETE', '/ops/secrets')).status).toBe(401);
    expect((await ask(server, 'DELETE', '/ops/secrets', { headers: { authorization: `Bearer ${TOKEN}` } })).status).toBe(405);
    const closed = await start({ OPS_TOKEN: '' });
    const headers = { authorization: 'Bearer x' };
    const nowhere = await ask(closed, 'GET', '/nowhere', { headers });
    expect(nowhere.status).toBe(404);
    for (const [method, path] of [
      ['GET', '/ops/secrets'],
      ['POST', '/ops/secrets'],
      ['DELETE', '/ops/secrets'],
      ['PUT', '/things'],
    ] as const) {
      expect({ method, path, problem: (await ask(closed, method, path, { headers })).problem }).toEqual({
        method,
        path,
        problem: nowhere.problem,
      });
    }
  });
});

describe("an error that carries another service's status", () => {
  it('is our 500, and logged once with its stack', async () => {
    const server = await start();
    const answer = await ask(server, 'GET', '/things', { headers: { 'x-correlation-id': 'request-1' } });
    expect(answer.status).toBe(500);
    expect(answer.text).not.toContain(SECRET);
    const errors = server.lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ level }) => level === 'error');
    expect(errors).toEqual([
      expect.objectContaining({ correlationId: 'request-1', err: expect.objectContaining({ stack: expect.stringContaining(SECRET) }) }),
    ]);
  });
});

describe('readiness', () => {
  it('answers at once while what is checked hangs, names every reason, and is red from the first moment of a shutdown', async () => {
    const server = await start();
    const health = server.app.get(HealthRegistry);
    expect((await ask(server, 'GET', '/health/ready')).status).toBe(200);
    health.register('broker', () => Promise.reject(new Error('no answer')));
    health.register('database', () => new Promise(() => undefined));
    const started = performance.now();
    expect((await ask(server, 'GET', '/health/ready')).status).toBe(503);
    expect(performance.now() - started).toBeLessThan(1000);
    await eventually(async () => {
      const { problem } = await ask(server, 'GET', '/health/ready');
      expect(problem).toMatchObject({ status: 503, detail: expect.stringContaining('broker: no answer') });
      expect(problem['reasons']).toEqual([
        { name: 'broker', reason: 'no answer' },
        { name: 'database', reason: 'not checked yet' },
      ]);
    });
    expect((await ask(server, 'GET', '/health/live')).status).toBe(200);
    health.markStopping();
    expect((await ask(server, 'GET', '/health/ready')).problem['reasons']).toEqual([{ name: 'process', reason: 'shutting down' }]);
  });
});

describe('a server that is closed', () => {
  it('does not wait for a client whose body was still on its way when it was answered', async () => {
    for (let time = 0; time < 5; time++) {
      const server = await start();
      const body = 'x'.repeat(2 * 1024 * 1024);
      expect((await ask(server, 'POST', '/ops/secrets', { body, headers: { 'content-type': 'application/json' } })).status).toBe(401);
      const started = performance.now();
      await server.app.close();
      expect(performance.now() - started).toBeLessThan(2000);
    }
  });
});
