import net from 'node:net';
import { freePort } from '../../scripts/lib/ports.mjs';

/**
 * - `ok`: passes everything on.
 * - `blackhole`: connections open and stay open, and no byte passes any more, in neither direction.
 * - `reset`: every connection is broken by a reset, new ones as well.
 * - `refuse`: nobody listens; open connections are broken.
 * - `latency`: every byte comes later by `latencyMs`, in its order.
 * - `slow`: so many `bytesPerSecond` a connection and direction.
 */
export type ProxyMode = 'ok' | 'blackhole' | 'reset' | 'refuse' | 'latency' | 'slow';

export interface ProxyCounts {
  /** Connections that were accepted. */
  readonly connections: number;
  readonly open: number;
  /** Open or new connections that the proxy broke on purpose. */
  readonly broken: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Bytes that arrived and were not passed on, because of `blackhole`. */
  readonly bytesHeld: number;
  /** Bytes that were held up by `latency` or `slow`. */
  readonly bytesDelayed: number;
}

interface Pair {
  readonly client: net.Socket;
  readonly server: net.Socket;
}

const TICK_MS = 20;

/** Stands between a client and a server on TCP, and makes the network between them bad. */
export class TcpProxy {
  mode: ProxyMode = 'ok';
  latencyMs = 200;
  bytesPerSecond = 20_000;
  private readonly pairs = new Set<Pair>();
  private server: net.Server | undefined;
  private readonly counted = { connections: 0, broken: 0, bytesUp: 0, bytesDown: 0, bytesHeld: 0, bytesDelayed: 0 };
  private readonly changed = new Set<() => void>();

  private constructor(
    private readonly target: { readonly host: string; readonly port: number },
    readonly port: number,
  ) {}

  /** Listens on a port of 127.0.0.1, a free one unless it is named. */
  static async start(target: { host?: string; port: number }, port?: number): Promise<TcpProxy> {
    const proxy = new TcpProxy({ host: '127.0.0.1', ...target }, port ?? (await freePort()));
    await proxy.listen();
    return proxy;
  }

  /** The same address, by way of this proxy. */
  through(url: string): string {
    const address = new URL(url);
    address.hostname = '127.0.0.1';
    address.port = String(this.port);
    return address.href;
  }

  get counts(): ProxyCounts {
    return { ...this.counted, open: this.pairs.size };
  }

  /** Changes what becomes of connections, those that are open included; resolves when it is in force. */
  async set(mode: ProxyMode): Promise<void> {
    this.mode = mode;
    if (mode === 'refuse') await this.close();
    else await this.listen();
    if (mode === 'refuse' || mode === 'reset') for (const pair of this.pairs) this.break(pair);
    for (const tell of this.changed) tell();
  }

  async end(): Promise<void> {
    this.mode = 'refuse';
    await this.close();
    for (const pair of this.pairs) this.break(pair);
    for (const tell of this.changed) tell();
  }

  private async listen(): Promise<void> {
    if (this.server) return;
    const server = net.createServer({ allowHalfOpen: true }, (client) => this.accept(client));
    this.server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ port: this.port, host: '127.0.0.1' }, resolve);
    });
  }

  /** Ends the listening only; open connections are not waited for. */
  private async close(): Promise<void> {
    const { server } = this;
    this.server = undefined;
    if (!server) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const pair of this.pairs) this.break(pair);
    });
  }

  private accept(client: net.Socket): void {
    this.counted.connections++;
    if (this.mode === 'reset' || this.mode === 'refuse') {
      this.counted.broken++;
      client.on('error', () => undefined);
      client.resetAndDestroy();
      return;
    }
    const server = net.connect({ ...this.target, allowHalfOpen: true });
    const pair = { client, server };
    this.pairs.add(pair);
    const over = (): void => {
      this.pairs.delete(pair);
      client.destroy();
      server.destroy();
      for (const tell of this.changed) tell();
    };
    for (const socket of [client, server]) socket.on('error', over).on('close', over);
    void this.carry(client, server, 'bytesUp');
    void this.carry(server, client, 'bytesDown');
  }

  private break(pair: Pair): void {
    this.counted.broken++;
    this.pairs.delete(pair);
    pair.client.resetAndDestroy();
    pair.server.destroy();
  }

  /** One direction: chunks wait here until the mode lets them pass. */
  private async carry(from: net.Socket, to: net.Socket, counter: 'bytesUp' | 'bytesDown'): Promise<void> {
    try {
      for await (const chunk of from.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        const arrived = performance.now();
        await this.held(chunk, from, to);
        await this.delayed(chunk, arrived);
        if (to.destroyed) return;
        this.counted[counter] += chunk.length;
        if (!to.write(chunk)) await new Promise<void>((resolve) => to.once('drain', resolve).once('close', resolve));
      }
      await this.held(Buffer.alloc(0), from, to);
      to.end();
    } catch {
      to.destroy(); // the other end is broken, or was broken here
    }
  }

  private async held(chunk: Buffer, from: net.Socket, to: net.Socket): Promise<void> {
    if (this.mode === 'blackhole') this.counted.bytesHeld += chunk.length;
    while (this.mode === 'blackhole' && !from.destroyed && !to.destroyed) {
      await new Promise<void>((resolve) => {
        const go = (): void => {
          this.changed.delete(go);
          resolve();
        };
        this.changed.add(go);
      });
    }
  }

  private async delayed(chunk: Buffer, arrived: number): Promise<void> {
    const delayMs = { latency: this.latencyMs, slow: (chunk.length / this.bytesPerSecond) * 1000 }[this.mode as string] ?? 0;
    if (delayMs === 0) return;
    this.counted.bytesDelayed += chunk.length;
    const due = arrived + delayMs;
    while (performance.now() < due && (this.mode === 'latency' || this.mode === 'slow'))
      await new Promise((resolve) => setTimeout(resolve, Math.min(TICK_MS, Math.max(1, due - performance.now()))));
  }
}
