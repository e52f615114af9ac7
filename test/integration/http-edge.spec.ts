import { Body, Controller, Get, HttpCode, Module, Param, Post, Put, Query } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { Type } from 'class-transformer';
import { ArrayMaxSize, IsArray, IsInt, IsObject, IsOptional, IsString, MaxLength, Min, ValidateNested } from 'class-validator';
import { createHash } from 'node:crypto';
import net from 'node:net';
import { gzipSync } from 'node:zlib';
import type { Config } from '../../src/config/config.js';
import { ConfigModule } from '../../src/config/config.module.js';
import { readConfig } from '../../src/config/read-config.js';
import {
  createHttpAdapter,
  decodeCursor,
  OperatorInProduction,
  OperatorOnly,
  pageOf,
  PageQuery,
  ProblemError,
  setUpHttp,
  UuidParam,
  type Page,
} from '../../src/http/index.js';
import { currentCausation, type Causation } from '../../src/messaging/event/causation.js';
import { createLogger } from '../../src/observability/create-logger.js';
import { Metrics } from '../../src/observability/metrics.js';
import { ObservabilityModule } from '../../src/observability/observability.module.js';
import { eventually, gate } from '../support/eventually.js';

const ID = '0192f1c0-1111-7abc-8def-0123456789ab';
const TOKEN = 'operators-only';
const SECRET = 'tok_ok_never-to-be-seen';
const HEAP = 'x'.repeat(1024 * 1024);

const slowRequest = ((): { begun: Promise<void>; begin(): void; mayEnd: Promise<void>; end(): void } => {
  const [begun, mayEnd] = [gate(), gate()];
  return { begun: begun.opened, begin: begun.open, mayEnd: mayEnd.opened, end: mayEnd.open };
})();

class Line {
  @IsString() @MaxLength(64) sku!: string;
  @IsInt() @Min(1) quantity!: number;
}

class PlaceBody {
  @IsArray() @ArrayMaxSize(100) @IsObject({ each: true }) @ValidateNested({ each: true }) @Type(() => Line) items!: Line[];
  @IsString() @MaxLength(64) paymentToken!: string;
  @IsOptional() @IsString() @MaxLength(2000) note?: string;
}

class FreeBody {
  @IsOptional() @IsObject() data?: Record<string, unknown>;
}

class ThingsQuery extends PageQuery {
  @IsOptional() @IsString() @MaxLength(20) colour?: string;
}

@Controller('things')
class ThingsController {
  @Get()
  list(@Query() { cursor, limit, colour }: ThingsQuery): Page<string> & { colour?: string } {
    const [after = '0'] = decodeCursor(cursor, ([at]) => /^\d+$/.test(at ?? '')) ?? [];
    const rows = Array.from({ length: 120 }, (_, at) => String(at + 1)).slice(Number(after), Number(after) + limit + 1);
    return { ...pageOf(rows, limit, (row) => [row]), ...(colour !== undefined && { colour }) };
  }

  @Post()
  @HttpCode(202)
  async place(@Body() body: PlaceBody): Promise<{ items: number; isInstance: boolean; causation: Causation | undefined }> {
    await new Promise((resolve) => setImmediate(resolve));
    return { items: body.items.length, isInstance: body.items.every((item) => item instanceof Line), causation: currentCausation() };
  }

  @Get('causation')
  async causation(): Promise<Causation | undefined> {
    await new Promise((resolve) => setImmediate(resolve));
    return currentCausation();
  }

  @Get('broken/:how')
  broken(@Param('how') how: string): never {
    if (how === 'database')
      throw Object.assign(new Error('the database system is shutting down'), { code: '57P01', routine: 'ProcessInterrupts' });
    if (how === 'problem') {
      throw new ProblemError(409, 'THING.TAKEN', 'Taken', 'Choose another.', { headers: { 'retry-after': '3' }, extensions: { by: 'me' } });
    }
    if (how === 'nothing') throw undefined;
    throw new Error(`unexpected, with ${SECRET}`);
  }

  @Get('slow')
  async slow(): Promise<object> {
    slowRequest.begin();
    await slowRequest.mayEnd;
    return {};
  }

  @Get(':id')
  find(@Param('id', UuidParam) id: string): { id: string } {
    return { id };
  }

  @Post(':id/cancel')
  @HttpCode(202)
  cancel(@Param('id', UuidParam) id: string): { id: string } {
    return { id };
  }

  @Post(':id/replay')
  @HttpCode(202)
  replay(@Param('id', UuidParam) id: string, @Body() body?: FreeBody): { id: string; data: unknown } {
    return { id, data: body?.data ?? null };
  }

  @Get('named/:sku')
  named(@Param('sku') sku: string): { sku: string } {
    return { sku };
  }

  @Put('named/:sku')
  @OperatorOnly()
  put(@Param('sku') sku: string): { sku: string } {
    return { sku };
  }
}

@Controller('ops')
@OperatorOnly()
class OpsController {
  @Get('outbox')
  outbox(): { backlog: number } {
    return { backlog: 0 };
  }
}

@Controller()
class EveryRoleController {
  @Get('health/live')
  live(): { status: string } {
    return { status: 'up' };
  }

  @Get('metrics')
  @OperatorInProduction('metrics')
  metrics(): string {
    return 'up 1';
  }
}

class Server {
  readonly lines: Record<string, unknown>[] = [];
  private app!: NestFastifyApplication;
  url = '';
  port = 0;

  static async start(env: NodeJS.ProcessEnv = {}): Promise<Server> {
    const server = new Server();
    const config: Config = readConfig({ HOST: '127.0.0.1', LOG_LEVEL: 'debug', LOG_FORMAT: 'json', OPS_TOKEN: TOKEN, ...env });
    const logger = createLogger(config, { write: (line) => void server.lines.push(JSON.parse(line) as Record<string, unknown>) });
    @Module({
      imports: [ConfigModule.for(config), ObservabilityModule.for(logger)],
      controllers: [ThingsController, OpsController, EveryRoleController],
    })
    class EdgeModule {}
    const app = await NestFactory.create<NestFastifyApplication>(EdgeModule, createHttpAdapter(config, logger), { logger: false });
    setUpHttp(app, config, logger);
    await app.listen(0, '127.0.0.1');
    server.app = app;
    server.url = (await app.getUrl()).replace('localhost', '127.0.0.1');
    server.port = Number(new URL(server.url).port);
    return server;
  }

  fetch(path: string, init?: RequestInit): Promise<Response> {
    return fetch(`${this.url}${path}`, init);
  }

  post(
    path: string,
    body: string | Uint8Array<ArrayBuffer>,
    headers: Record<string, string> = { 'content-type': 'application/json' },
  ): Promise<Response> {
    return this.fetch(path, { method: 'POST', body, headers });
  }

  /** Sends bytes as they are, and resolves with all that comes back once the server has closed. */
  raw(...chunks: readonly (string | Buffer)[]): Promise<{ status: number; head: string; problem: Record<string, unknown> }> {
    return new Promise((resolve, reject) => {
      const socket = net.connect(this.port, '127.0.0.1');
      let text = '';
      socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      socket.on('error', reject).on('close', () => {
        const [head = '', body = ''] = text.split('\r\n\r\n');
        try {
          resolve({ status: Number(head.split(' ')[1]), head, problem: JSON.parse(body) as Record<string, unknown> });
        } catch (error) {
          reject(new Error(`no problem document: ${text}`, { cause: error }));
        }
      });
      for (const chunk of chunks) socket.write(chunk);
    });
  }

  metrics(): Promise<string> {
    return this.app.get(Metrics).registry.metrics();
  }

  /** As on SIGTERM. */
  stopListening(): Promise<void> {
    return new Promise((resolve) => this.app.getHttpServer().close(() => resolve()));
  }

  async stop(): Promise<void> {
    await this.app.close();
  }
}

interface Problem {
  type: string;
  title: string;
  status: number;
  detail?: string;
  errors?: { field: string; message: string }[];
}

async function problemOf(response: Response): Promise<Problem> {
  expect(response.headers.get('content-type')).toBe('application/problem+json');
  expect(response.headers.get('x-correlation-id')).toMatch(/^[A-Za-z0-9._-]{1,128}$/);
  expect(response.headers.get('x-content-type-options')).toBe('nosniff');
  const text = await response.text();
  expect(text).not.toContain(SECRET);
  expect(text).not.toMatch(/node_modules|\.ts:\d|\bat .+:\d+:\d+/);
  const problem = JSON.parse(text) as Problem;
  expect(problem).toMatchObject({ type: expect.any(String), title: expect.any(String), status: response.status });
  return problem;
}

const fieldsOf = ({ errors = [] }: Problem): string[] => errors.map(({ field }) => field);

const order = (members: object = {}): string => JSON.stringify({ items: [{ sku: 'a', quantity: 1 }], paymentToken: SECRET, ...members });

describe('the HTTP edge', () => {
  let server: Server;

  beforeAll(async () => {
    server = await Server.start();
  });

  afterAll(() => server.stop());

  describe('a body', () => {
    it('is an instance of its class', async () => {
      const response = await server.post('/things', order({ note: 'für dich 🎁' }));
      expect(response.status).toBe(202);
      expect(await response.json()).toMatchObject({ items: 1, isInstance: true });
    });

    it.each<[string, string | Buffer<ArrayBuffer>, number, string[]]>([
      ['text', 'hello', 400, []],
      ['half of a document', '{"items":[', 400, []],
      ['an unfinished string', '{"items":"', 400, []],
      ['a trailing comma', '{"items":[],}', 400, []],
      ['two documents', '{}{}', 400, []],
      ['NaN', '{"items":NaN}', 400, []],
      ['a byte order mark', `\uFEFF${order()}`, 400, []],
      ['a raw control character', '{"note":"\u0001"}', 400, []],
      ['null', 'null', 400, []],
      ['a list', '[]', 400, []],
      ['a number', '1', 400, []],
      ['a string', '"a"', 400, []],
      ['bytes that are not UTF-8', Buffer.from([0x22, 0xff, 0x22]), 400, []],
      ['UTF-16', Buffer.from(order(), 'utf16le'), 400, []],
      ['an encoded surrogate', Buffer.concat([Buffer.from('{"note":"'), Buffer.from([0xed, 0xa0, 0x80]), Buffer.from('"}')]), 400, []],
      ['10,000 lists in each other', '['.repeat(10_000) + ']'.repeat(10_000), 400, []],
      ['10,000 objects in each other', '{"a":'.repeat(10_000) + '1' + '}'.repeat(10_000), 400, []],
      ['33 levels', `{"data":${'['.repeat(32)}${']'.repeat(32)}}`, 400, []],
      ['a member twice', `{"note":"${SECRET}","note":"b"}`, 400, ['note']],
      ['a member twice, once escaped', '{"note":"a","n\\u006fte":"b"}', 400, ['note']],
      ['a member of a member twice', '{"items":[{"sku":"a"},{"sku":"a","sku":"b"}]}', 400, ['items.1.sku']],
      ['__proto__', '{"__proto__":{"polluted":true}}', 400, ['__proto__']],
      ['__proto__, escaped', '{"items":[{"__pr\\u006fto__":1}]}', 400, ['items.0.__proto__']],
      ['constructor.prototype', '{"data":{"constructor":{"prototype":{"polluted":true}}}}', 400, ['data.constructor']],
      ['prototype', '{"data":{"prototype":{}}}', 400, ['data.prototype']],
      ['U+0000 in a member', order({ note: 'a\0b' }), 400, ['note']],
      ['U+0000 in an item', order({ items: [{ sku: 'a\0', quantity: 1 }] }), 400, ['items.0.sku']],
      ['U+0000 in a name', order({ 'a\0b': 1 }), 400, ['a\uFFFDb']],
      ['U+0000 in a list', '{"items":["a",["b","\\u0000"]]}', 400, ['items.1.1']],
      ['a lone high surrogate', '{"note":"\\ud800"}', 400, ['note']],
      ['a lone low surrogate', '{"items":[{},{"sku":"\\udc00"}]}', 400, ['items.1.sku']],
      ['a lone surrogate in a name', '{"\\ud800":1}', 400, ['\uFFFD']],
      ['an unknown member', order({ status: 'confirmed' }), 400, ['status']],
      ['an unknown member of an item', order({ items: [{ sku: 'a', quantity: 1, price: 0 }] }), 400, ['items.0.price']],
      ['a number as text', order({ items: [{ sku: 'a', quantity: '1' }] }), 400, ['items.0.quantity']],
      ['a fraction', order({ items: [{ sku: 'a', quantity: 0.5 }] }), 400, ['items.0.quantity']],
      ['a number too large to be one', '{"items":[{"sku":"a","quantity":1e309}],"paymentToken":"t"}', 400, ['items.0.quantity']],
      ['a token too long', order({ paymentToken: SECRET.repeat(10) }), 400, ['paymentToken']],
      ['an item that is none', order({ items: [1] }), 400, ['items']],
      ['an item that is a list', order({ items: [[]] }), 400, ['items']],
      ['an object for a list', order({ items: { 0: { sku: 'a', quantity: 1 } } }), 400, ['items']],
      ['10,000 items', order({ items: Array.from({ length: 10_000 }, () => ({ sku: 'a', quantity: 0 })) }), 400, ['items']],
      ['nothing in it', '{}', 400, ['items', 'paymentToken']],
      ['no bytes', '', 400, ['items', 'paymentToken']],
      ['a string of 300,000 escapes', `{"note":"${'\\n'.repeat(300_000)}"}`, 400, ['note']],
    ])('with %s is refused', async (_name, body, status, fields) => {
      const response = await server.post('/things', body);
      expect(response.status).toBe(status);
      const problem = await problemOf(response);
      expect(fieldsOf(problem)).toEqual(expect.arrayContaining(fields));
      if (fields.length === 0) expect(fieldsOf(problem)).toEqual([]);
      expect(JSON.stringify(problem).length).toBeLessThan(20_000);
      expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    });

    it('with names that are long is refused shortly', async () => {
      const problem = await problemOf(await server.post('/things', order({ ['n'.repeat(100_000)]: 1 })));
      expect(problem.status).toBe(400);
      expect(JSON.stringify(problem).length).toBeLessThan(1000);
    });

    it.each([
      ['32 levels', { data: JSON.parse(`${'['.repeat(30)}${']'.repeat(30)}`) as unknown }],
      ['names of other members in other objects', { a: { a: [{ a: 1 }, { a: 2 }] }, b: { a: 'a' }, c: 'constructor' }],
      ['brackets and quotes in strings', { '"[{': '}]"\\', b: ['"', '\\"', '[[[[[['.repeat(20)] }],
      ['all of Unicode', { 'é🎁': '\u0001\u001f\uFFFF𝒳' }],
    ])('with %s is read as it is', async (_name, data) => {
      const response = await server.post(`/things/${ID}/replay`, JSON.stringify({ data }));
      expect(response.status).toBe(202);
      expect(await response.json()).toEqual({ id: ID, data });
    });

    it.each<[string, string | Uint8Array<ArrayBuffer>, Record<string, string>]>([
      ['plain text', order(), { 'content-type': 'text/plain' }],
      ['a form', 'items=1', { 'content-type': 'application/x-www-form-urlencoded' }],
      ['a kind of JSON', order(), { 'content-type': 'application/merge-patch+json' }],
      ['what only begins like JSON', order(), { 'content-type': 'application/jsonx' }],
      ['no media type at all', order(), { 'content-type': 'nonsense' }],
      ['JSON in another charset', order(), { 'content-type': 'application/json; charset=utf-16' }],
      ['gzip', gzipSync(order()), { 'content-type': 'application/json', 'content-encoding': 'gzip' }],
      ['an unknown encoding', order(), { 'content-type': 'application/json', 'content-encoding': 'identity, br' }],
      ['bytes without a type', Buffer.from(order()), {}],
      ['2 MiB of something else', HEAP + HEAP, { 'content-type': 'text/plain' }],
    ])('that is %s answers 415', async (name, body, headers) => {
      const response = await server.post('/things', body, headers);
      expect((await problemOf(response)).status).toBe(name.startsWith('2 MiB') ? 413 : 415);
    });

    it('is taken in UTF-8 by any spelling', async () => {
      for (const type of ['application/json;charset=utf-8', 'application/json; charset="UTF-8"', 'Application/JSON']) {
        expect((await server.post('/things', order(), { 'content-type': type })).status).toBe(202);
      }
    });

    it.each<[string, RequestInit]>([
      ['nothing', {}],
      ['an empty string', { body: '' }],
      ['an empty form, as from curl', { body: '', headers: { 'content-type': 'application/x-www-form-urlencoded' } }],
      ['empty JSON', { body: '', headers: { 'content-type': 'application/json' } }],
    ])('may be %s where none is needed', async (_name, init) => {
      for (const action of ['cancel', 'replay']) {
        expect((await server.fetch(`/things/${ID}/${action}`, { method: 'POST', ...init })).status).toBe(202);
      }
    });

    it('of exactly 1 MiB is read, and one byte more is not', async () => {
      const wrap = (bytes: number): string => `{"data":{"a":"${'x'.repeat(bytes - 1000)}"}}`.padEnd(bytes, ' ');
      expect((await server.post(`/things/${ID}/replay`, wrap(1024 * 1024))).status).toBe(202);
      expect((await problemOf(await server.post(`/things/${ID}/replay`, wrap(1024 * 1024 + 1)))).status).toBe(413);
    });

    it.each(['with', 'without'])('of 50 MB, %s its length, is answered 413 to a client that writes it all first', async (length) => {
      const head = `POST /things HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n`;
      const chunk = Buffer.from(`${(1024 * 1024).toString(16)}\r\n${HEAP}\r\n`);
      const chunks =
        length === 'with'
          ? [`${head}Content-Length: ${50 * HEAP.length}\r\n\r\n`, ...Array.from({ length: 50 }, () => HEAP)]
          : [`${head}Transfer-Encoding: chunked\r\n\r\n`, ...Array.from({ length: 50 }, () => chunk), '0\r\n\r\n'];
      const { status, problem } = await server.raw(...chunks);
      expect({ status, problem }).toMatchObject({ status: 413, problem: { status: 413, title: expect.any(String) } });
    });
  });

  describe('an address', () => {
    it.each<[string, string, string, number, string[]]>([
      ['of nothing', 'GET', '/nothing', 404, []],
      ['of nothing, with a body that is too large', 'POST', '/nothing', 404, []],
      ['in another case', 'GET', '/Things', 404, []],
      ['with a slash more', 'GET', '/things/', 404, []],
      ['with slashes doubled', 'GET', '//things', 404, []],
      ['with an empty id', 'POST', '/things//cancel', 404, []],
      ['with bad percent-encoding', 'GET', '/things/%zz', 400, []],
      ['with half an encoding', 'GET', '/things/%', 400, []],
      ['that is not UTF-8', 'GET', '/things/named/%ff', 400, []],
      ['with U+0000', 'GET', '/things/named/a%00b', 400, ['sku']],
      ['with no UUID', 'GET', '/things/17', 400, ['id']],
      ['with an endless id', 'GET', `/things/${'a'.repeat(5000)}`, 400, ['id']],
      ['with no UUID to act on', 'POST', '/things/x/cancel', 400, ['id']],
      ['with a number too large', 'GET', '/things?limit=101', 400, ['limit']],
      ['with a limit of nothing', 'GET', '/things?limit=0', 400, ['limit']],
      ['with a negative limit', 'GET', '/things?limit=-1', 400, ['limit']],
      ['with a limit in words', 'GET', '/things?limit=ten', 400, ['limit']],
      ['with an empty limit', 'GET', '/things?limit=', 400, ['limit']],
      ['with a limit in hex', 'GET', '/things?limit=0x10', 400, ['limit']],
      ['with a fraction of a limit', 'GET', '/things?limit=1.5', 400, ['limit']],
      ['with a bad cursor', 'GET', '/things?cursor=!!', 400, ['cursor']],
      ['with an empty cursor', 'GET', '/things?cursor=', 400, ['cursor']],
      ['with a cursor of another list', 'GET', `/things?cursor=${Buffer.from('["a"]').toString('base64url')}`, 400, ['cursor']],
      ['with a cursor of another kind', 'GET', `/things?cursor=${Buffer.from('{"a":1}').toString('base64url')}`, 400, ['cursor']],
      ['with U+0000 in a cursor', 'GET', `/things?cursor=${Buffer.from('["1\\u0000"]').toString('base64url')}`, 400, ['cursor']],
      ['with a parameter twice', 'GET', '/things?colour=a&colour=b', 400, ['colour']],
      ['with a parameter twice, once encoded', 'GET', '/things?colour=a&c%6flour=b', 400, ['colour']],
      ['with an unknown parameter', 'GET', '/things?size=1', 400, ['size']],
      ['with a parameter as a list', 'GET', '/things?colour[]=a', 400, ['colour[]']],
      ['with a parameter as an object', 'GET', '/things?colour[a]=a', 400, ['colour[a]']],
      ['with __proto__', 'GET', '/things?__proto__=a', 400, ['__proto__']],
      ['with constructor', 'GET', '/things?constructor=a', 400, ['constructor']],
      ['with U+0000 in a parameter', 'GET', '/things?colour=a%00', 400, ['colour']],
      ['with U+0000 in a name', 'GET', '/things?a%00=1', 400, ['a\uFFFD']],
      ['with a parameter that is not UTF-8', 'GET', '/things?colour=%ff', 400, ['colour']],
      ['with an encoded surrogate', 'GET', '/things?colour=%ed%a0%80', 400, ['colour']],
      ['with a bad escape in a parameter', 'GET', '/things?colour=%zz', 400, ['colour']],
      ['with a parameter too long', 'GET', `/things?colour=${'a'.repeat(21)}`, 400, ['colour']],
    ])('%s is refused', async (name, method, path, status, fields) => {
      const response = await server.fetch(path, { method, ...(name.includes('too large') && method === 'POST' && { body: HEAP + HEAP }) });
      expect(response.status).toBe(status);
      expect(fieldsOf(await problemOf(response))).toEqual(expect.arrayContaining(fields));
    });

    it.each([
      ['DELETE', '/things', 'GET, HEAD, POST'],
      ['PATCH', '/things?colour=a', 'GET, HEAD, POST'],
      ['GET', `/things/${ID}/cancel`, 'POST'],
      ['PUT', `/things/${ID}`, 'GET, HEAD'],
      ['POST', '/health/live', 'GET, HEAD'],
      ['OPTIONS', '/things/named/a', 'GET, HEAD, PUT'],
      ['POST', '/t%68ings/named/a%2Fb', 'GET, HEAD, PUT'],
    ])('does not answer %s %s, and says what it answers', async (method, path, allow) => {
      const response = await server.fetch(path, { method });
      expect(response.status).toBe(405);
      expect(response.headers.get('allow')).toBe(allow);
      await problemOf(response);
    });

    it('answers HEAD where it answers GET', async () => {
      expect((await server.fetch('/things', { method: 'HEAD' })).status).toBe(200);
    });

    it('leads through every page to the end', async () => {
      const seen: string[] = [];
      let cursor: string | null = null;
      do {
        const response = await server.fetch(`/things?limit=50&colour=a+b%26${cursor === null ? '' : `&cursor=${cursor}`}`);
        expect(response.status).toBe(200);
        const page = (await response.json()) as Page<string> & { colour: string };
        expect(page.colour).toBe('a b&');
        seen.push(...page.items);
        cursor = page.nextCursor;
      } while (cursor !== null);
      expect(seen).toEqual(Array.from({ length: 120 }, (_, at) => String(at + 1)));
      expect(((await (await server.fetch('/things')).json()) as Page<string>).items).toHaveLength(50);
    });

    it('takes a UUID in capitals for the same', async () => {
      expect(await (await server.fetch(`/things/${ID.toUpperCase()}`)).json()).toEqual({ id: ID });
    });
  });

  describe('what is no HTTP', () => {
    it.each<[string, string, number]>([
      ['no request line', 'hello\r\n\r\n', 400],
      ['an unknown method', 'FROB /things HTTP/1.1\r\nHost: a\r\n\r\n', 400],
      ['a space in a header name', 'GET /things HTTP/1.1\r\nHost: a\r\nx y: 1\r\n\r\n', 400],
      ['a control character in a header', 'GET /things HTTP/1.1\r\nHost: a\r\nx: \u0001\r\n\r\n', 400],
      ['two lengths', 'POST /things HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}', 400],
      ['a length and chunks', 'POST /things HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}', 400],
      ['a length in words', 'POST /things HTTP/1.1\r\nHost: a\r\nContent-Length: two\r\n\r\n{}', 400],
      [
        'chunks of no size',
        'POST /things HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
        400,
      ],
      ['headers of 20 KB', `GET /things HTTP/1.1\r\nHost: a\r\nx: ${'a'.repeat(20_000)}\r\n\r\n`, 431],
      ['an address of 20 KB', `GET /things?colour=${'a'.repeat(20_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 431],
      ['no host', 'GET /things HTTP/1.1\r\nConnection: close\r\n\r\n', 400],
      ['an expectation that cannot be met', 'POST /things HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\nConnection: close\r\n\r\n', 417],
      ['an asterisk', 'OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', 404],
      ['an address without a slash', 'GET things HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', 400],
      ['an absolute address of nothing', 'GET http://a/nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', 404],
      ['the wrong method at an absolute address', 'DELETE http://a/things?x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', 405],
      ['U+0000 at an absolute address', 'GET http://a/things?colour=%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', 400],
    ])('%s is answered with a problem document', async (_name, bytes, expected) => {
      const { status, head, problem } = await server.raw(bytes);
      expect({ status, problem }).toMatchObject({ status: expected, problem: { status: expected, title: expect.any(String) } });
      expect(head).toMatch(/^content-type: application\/problem\+json$/im);
    });

    it('headers or a body that come too slowly are answered 408', async () => {
      const slow = [
        'GET /things HTTP/1.1\r\nHost: a\r\nx-slow: ',
        'POST /things HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"',
      ];
      for (const answer of await Promise.all(slow.map((bytes) => server.raw(bytes)))) {
        expect(answer).toMatchObject({ status: 408, problem: { status: 408 } });
      }
    }, 40_000);

    it('a client that goes away with its body half sent is not an error of ours', async () => {
      const correlation = 'gone-away';
      const before = server.lines.length;
      await new Promise<void>((resolve) => {
        const socket = net.connect(server.port, '127.0.0.1', () => {
          socket.write(
            `POST /things HTTP/1.1\r\nHost: a\r\nx-correlation-id: ${correlation}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{`,
          );
          setImmediate(() => socket.resetAndDestroy());
        });
        socket.on('close', () => resolve());
      });
      expect((await server.fetch('/things')).status).toBe(200);
      expect(server.lines.slice(before).filter(({ level }) => level === 'error' || level === 'warn')).toEqual([]);
    });
  });

  describe('an error', () => {
    const linesOf = (correlation: string): Record<string, unknown>[] =>
      server.lines.filter((line) => line['correlationId'] === correlation);

    it('that nobody expected is logged once, with its stack, and not shown', async () => {
      const response = await server.fetch('/things/broken/unexpected', { headers: { 'x-correlation-id': 'broken-1' } });
      expect(await problemOf(response)).toMatchObject({ type: 'about:blank', title: 'Internal Server Error', status: 500 });
      await eventually(() => expect(linesOf('broken-1')).toHaveLength(2));
      expect(linesOf('broken-1').filter((line) => 'err' in line)).toEqual([
        expect.objectContaining({
          level: 'error',
          route: '/things/broken/:how',
          err: expect.objectContaining({ stack: expect.stringContaining('at ') }),
        }),
      ]);
      expect(linesOf('broken-1').at(-1)).toMatchObject({ level: 'info', status: 500, ms: expect.any(Number), method: 'GET' });
    });

    it('of nothing at all is one too', async () => {
      expect((await problemOf(await server.fetch('/things/broken/nothing'))).status).toBe(500);
    });

    it('of an absent database asks to come again', async () => {
      const response = await server.fetch('/things/broken/database');
      expect(response.headers.get('retry-after')).toBe('1');
      expect((await problemOf(response)).status).toBe(503);
    });

    it('that the application means is told in its words', async () => {
      const response = await server.fetch('/things/broken/problem');
      expect(response.headers.get('retry-after')).toBe('3');
      expect(await problemOf(response)).toEqual({
        type: 'urn:waybill:problem:THING.TAKEN',
        title: 'Taken',
        status: 409,
        detail: 'Choose another.',
        by: 'me',
      });
    });

    it('names neither token nor note in any line', () => {
      const unexpected = (line: Record<string, unknown>): boolean => 'err' in line; // thrown by this test's own controller
      expect(JSON.stringify(server.lines.filter((line) => !unexpected(line)))).not.toContain(SECRET);
    });
  });

  describe('a correlation', () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

    it('reaches the controller, with a body and without, and comes back', async () => {
      const headers = { 'content-type': 'application/json', 'x-correlation-id': 'a.B_c-1', traceparent };
      const [posted, got] = [await server.post('/things', order(), headers), await server.fetch('/things/causation', { headers })];
      expect(posted.headers.get('x-correlation-id')).toBe('a.B_c-1');
      expect(((await posted.json()) as { causation: Causation }).causation).toEqual({ correlationid: 'a.B_c-1', traceparent });
      expect(await got.json()).toEqual({ correlationid: 'a.B_c-1', traceparent });
    });

    it('is of the request alone, however many run at once', async () => {
      const ids = Array.from({ length: 50 }, (_, at) => `request-${at}`);
      const answers = await Promise.all(
        ids.map(async (id) =>
          (await server.post('/things', order(), { 'content-type': 'application/json', 'x-correlation-id': id })).json(),
        ),
      );
      expect(answers.map((answer) => (answer as { causation: Causation }).causation.correlationid)).toEqual(ids);
    });

    it.each([
      ['an id with spaces', { 'x-correlation-id': 'a b' }],
      ['an id with markup', { 'x-correlation-id': '"},{"level":"fatal' }],
      ['an id too long', { 'x-correlation-id': 'a'.repeat(129) }],
      ['no id', {}],
      ['a bad trace', { traceparent: `${traceparent}-more` }],
      ['a trace of zeros', { traceparent: `00-${'0'.repeat(32)}-b7ad6b7169203331-01` }],
    ])('is made anew for %s', async (_name, headers) => {
      const response = await server.fetch('/things/causation', { headers: headers as Record<string, string> });
      const causation = (await response.json()) as Causation;
      expect(causation.correlationid).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
      expect(causation.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
      expect(causation.traceparent).not.toBe(headers['traceparent' as keyof typeof headers]);
      expect(response.headers.get('x-correlation-id')).toBe(causation.correlationid);
    });
  });

  it('writes one line and one measure a request, by its route', async () => {
    await server.fetch(`/things/${ID}?colour=secret`, { headers: { 'x-correlation-id': 'line-1' } });
    await server.fetch('/nothing/at/all', { headers: { 'x-correlation-id': 'line-2' } });
    await eventually(() => expect(server.lines.filter((line) => /^line-/.test(String(line['correlationId'])))).toHaveLength(2));
    const lines = server.lines.filter((line) => /^line-/.test(String(line['correlationId'])));
    expect(lines).toEqual([
      expect.objectContaining({ level: 'debug', route: '/things/:id', method: 'GET', status: 200, ms: expect.any(Number) }),
      expect.objectContaining({ level: 'debug', route: 'unmatched', method: 'GET', status: 404, ms: expect.any(Number) }),
    ]);
    const metrics = await server.metrics();
    expect(metrics).toMatch(/http_request_duration_seconds_count\{.*route="\/things\/:id".*\} \d+/);
    expect(metrics).not.toContain('/nothing');
  });

  describe('the operator', () => {
    const operator = { authorization: `Bearer ${TOKEN}` };
    const digest = createHash('sha256').update(TOKEN).digest('hex');

    it.each<[string, Record<string, string>]>([
      ['without a token', {}],
      ['with another token', { authorization: 'Bearer wrong' }],
      ['with half the token', { authorization: `Bearer ${TOKEN.slice(0, -1)}` }],
      ['with an empty token', { authorization: 'Bearer ' }],
      ['with the token and more', { authorization: `Bearer ${TOKEN} x` }],
      ["with the token's digest", { authorization: `Bearer ${digest}` }],
      ['by another scheme', { authorization: `Basic ${Buffer.from(`ops:${TOKEN}`).toString('base64')}` }],
    ])('%s is not let in', async (_name, headers) => {
      for (const [method, path] of [
        ['GET', '/ops/outbox'],
        ['HEAD', '/ops/outbox'],
        ['GET', '/%6fps/outbox'],
        ['PUT', '/things/named/a'],
      ] as const) {
        const response = await server.fetch(path, { method, headers });
        expect(response.status).toBe(401);
        expect(response.headers.get('www-authenticate')).toMatch(/^Bearer/);
        if (method !== 'HEAD') expect((await problemOf(response)).detail).not.toContain(TOKEN);
      }
    });

    it('with the token is let in', async () => {
      expect((await server.fetch('/ops/outbox', { headers: operator })).status).toBe(200);
      expect((await server.fetch('/things/named/a', { method: 'PUT', headers: operator })).status).toBe(200);
    });

    it.each([
      '/OPS/outbox',
      '/ops//outbox',
      '/ops/outbox/',
      '//ops/outbox',
      '/ops/%2e/outbox',
      '/ops/outbox%2f',
      '/health/live/../ops/outbox%20',
    ])('cannot be evaded by %s', async (path) => {
      const { status } = await server.raw(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
      expect(status).toBe(404);
    });

    it('has no routes where no token is configured', async () => {
      const closed = await Server.start({ OPS_TOKEN: undefined });
      try {
        for (const headers of [{}, operator, { authorization: 'Bearer undefined' }]) {
          const response = await closed.fetch('/ops/outbox', { headers: headers as Record<string, string> });
          expect((await problemOf(response)).status).toBe(404);
        }
      } finally {
        await closed.stop();
      }
    });
  });

  describe('the documentation', () => {
    it('is a page with its scripts, and a document of every route', async () => {
      const page = await server.fetch('/docs');
      expect(page.headers.get('content-type')).toMatch(/^text\/html/);
      const html = await page.text();
      const policy = page.headers.get('content-security-policy') ?? '';
      expect(policy).toContain("script-src 'self'");
      expect(html).not.toMatch(/<script(?![^>]*\bsrc=)[^>]*>\s*\S/);
      const parts = [...html.matchAll(/(?:src|href)="\.?\/?([^"]+)"/g)].map(([, path]) => path ?? '');
      expect(parts.some((path) => path.endsWith('swagger-ui-bundle.js'))).toBe(true);
      for (const path of parts) {
        const part = await server.fetch(`/${path}`);
        expect([path, part.status, (await part.text()).length]).toEqual([path, 200, expect.any(Number)]);
      }
      const document = (await (await server.fetch('/docs-json')).json()) as { openapi: string; paths: object };
      expect(Object.keys(document.paths)).toEqual(expect.arrayContaining(['/things', '/things/{id}/cancel', '/ops/outbox']));
      expect((await problemOf(await server.fetch('/docs/nothing.js'))).status).toBe(404);
    });
  });

  describe('in production', () => {
    const PRODUCTION = { NODE_ENV: 'production', DATABASE_URL: 'postgresql://u:p-2-x@127.0.0.1:1/x', PAYMENT_GATEWAY: 'sandbox' };
    const GUARDED = ['/metrics', '/docs', '/docs/', '/docs-json', '/docs/swagger-ui-bundle.js', '/docs/swagger-ui-init.js', '/%64ocs-json'];
    const LONG = 'operators-only-0123456789-abcdefghijklmnop';
    const statuses = async (env: NodeJS.ProcessEnv, headers: Record<string, string> = {}): Promise<number[]> => {
      const production = await Server.start({ ...PRODUCTION, OPS_TOKEN: LONG, ...env });
      try {
        const found: number[] = [];
        for (const path of GUARDED) {
          const response = await production.fetch(path, { headers });
          await response.text(); // a connection that is still being read from keeps the server from closing
          found.push(response.status);
        }
        return found;
      } finally {
        await production.stop();
      }
    };

    it('metrics and documentation are for the operator', async () => {
      expect(await statuses({})).toEqual(GUARDED.map(() => 401));
      expect(await statuses({}, { authorization: `Bearer ${LONG}` })).toEqual(GUARDED.map(() => 200));
      expect(await statuses({ OPS_TOKEN: undefined })).toEqual(GUARDED.map(() => 404));
    });

    it('each can be made public', async () => {
      expect(await statuses({ PUBLIC_METRICS: 'true' })).toEqual(GUARDED.map((path) => (path === '/metrics' ? 200 : 401)));
      expect(await statuses({ PUBLIC_DOCS: 'true' })).toEqual(GUARDED.map((path) => (path === '/metrics' ? 401 : 200)));
    });
  });

  it('serves health and metrics alone without the role http', async () => {
    const relay = await Server.start({ ROLES: 'relay' });
    try {
      for (const path of ['/health/live', '/metrics']) expect((await relay.fetch(path)).status).toBe(200);
      for (const path of ['/things', `/things/${ID}`, '/ops/outbox', '/docs', '/docs-json', '/health', '/metrics/', '/things?a=1&a=2']) {
        const response = await relay.fetch(path, { headers: { authorization: `Bearer ${TOKEN}` } });
        expect([path, (await problemOf(response)).status]).toEqual([path, 404]);
      }
      expect((await problemOf(await relay.fetch('/things', { method: 'DELETE' }))).status).toBe(404);
    } finally {
      await relay.stop();
    }
  });

  it('answers the request in hand when it is closed, and does not wait for its client to let go', async () => {
    const closing = await Server.start();
    const answer = closing.fetch('/things/slow'); // fetch keeps its connection
    await slowRequest.begun;
    const stopped = closing.stopListening();
    await expect(closing.fetch('/health/live')).rejects.toThrow();
    slowRequest.end();
    expect((await answer).status).toBe(200);
    await stopped;
    await closing.stop();
  }, 10_000);
});
