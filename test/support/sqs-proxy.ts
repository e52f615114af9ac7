import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

/** A request of the SQS protocol, or its answer. */
export type SqsBody = Record<string, unknown>;

/** What becomes of a request: nothing special, no answer ever, a broken connection, another answer, or a changed one. */
export type Treatment = undefined | 'hang' | 'cut' | { readonly status: number; readonly body: SqsBody } | ((answer: SqsBody) => SqsBody);

/** Stands between a client and an SQS server, and makes requests go wrong. */
export class SqsProxy {
  /** Decides about each request by its operation, such as `SendMessageBatch`. */
  rule: (operation: string, body: SqsBody) => Treatment = () => undefined;
  readonly seen: { operation: string; body: SqsBody }[] = [];
  private readonly hanging = new Set<http.ServerResponse>();

  private constructor(
    private readonly server: http.Server,
    readonly url: string,
  ) {}

  static async start(target: string): Promise<SqsProxy> {
    const server = http.createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const proxy = new SqsProxy(server, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    server.on('request', (request, response) => {
      proxy.handle(target, request, response).catch((error: unknown) => response.destroy(error as Error));
    });
    return proxy;
  }

  count(operation: string): number {
    return this.seen.filter((request) => request.operation === operation).length;
  }

  async end(): Promise<void> {
    for (const response of this.hanging) response.destroy();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async handle(target: string, request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const sent = await text(request);
    const operation = String(request.headers['x-amz-target']).split('.')[1] ?? '';
    const body = JSON.parse(sent) as SqsBody;
    this.seen.push({ operation, body });
    const treatment = this.rule(operation, body);
    if (treatment === 'hang') return void this.hanging.add(response);
    if (treatment === 'cut') return void response.destroy();
    if (typeof treatment === 'object') return answer(response, treatment.status, JSON.stringify(treatment.body));
    const forwarded = http.request(target, { method: 'POST', path: request.url, headers: request.headers });
    forwarded.end(sent);
    const reply = await new Promise<http.IncomingMessage>((resolve, reject) => {
      forwarded.once('response', resolve);
      forwarded.once('error', reject);
    });
    const replied = await text(reply);
    answer(response, reply.statusCode ?? 500, treatment ? JSON.stringify(treatment(JSON.parse(replied) as SqsBody)) : replied);
  }
}

function answer(response: http.ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'application/x-amz-json-1.0' }).end(body);
}
