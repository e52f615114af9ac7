import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { eventually } from './eventually.js';
import { TcpProxy } from './tcp-proxy.js';

describe('the proxy between a client and a server', () => {
  let echo: net.Server;
  let proxy: TcpProxy;
  const sockets = new Set<net.Socket>();

  beforeEach(async () => {
    echo = net.createServer((socket) => void socket.on('error', () => undefined).pipe(socket));
    await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
    proxy = await TcpProxy.start({ port: (echo.address() as AddressInfo).port });
  });
  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    await proxy.end();
    await new Promise((resolve) => echo.close(resolve));
  });

  const connect = async (): Promise<net.Socket> => {
    const socket = net.connect(proxy.port, '127.0.0.1');
    sockets.add(socket);
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    return socket;
  };
  const said = (socket: net.Socket, text: string): Promise<string> => {
    const answer = new Promise<string>((resolve) => socket.once('data', (data) => resolve(String(data))));
    socket.write(text);
    return answer;
  };
  const ended = (socket: net.Socket): Promise<string> =>
    new Promise((resolve) => {
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
      socket.once('close', () => resolve('closed'));
    });

  it('ok: passes bytes on and counts them', async () => {
    const socket = await connect();
    expect(await said(socket, 'hello')).toBe('hello');
    expect(proxy.counts).toMatchObject({ connections: 1, open: 1, bytesUp: 5, bytesDown: 5, bytesHeld: 0 });
    socket.destroy();
    await eventually(() => expect(proxy.counts.open).toBe(0));
  });

  it('blackhole: keeps connections open, holds every byte, and passes them on afterwards', async () => {
    const socket = await connect();
    await said(socket, 'before');
    await proxy.set('blackhole');
    const answer = said(socket, 'held');
    await eventually(() => expect(proxy.counts.bytesHeld).toBe(4));
    expect(await Promise.race([answer, new Promise((resolve) => setTimeout(() => resolve('nothing'), 200))])).toBe('nothing');
    expect(socket.destroyed).toBe(false);
    await proxy.set('ok');
    expect(await answer).toBe('held');
  });

  it('reset: breaks open connections and new ones', async () => {
    const socket = await connect();
    await said(socket, 'before');
    const end = ended(socket);
    await proxy.set('reset');
    expect(await end).toBe('ECONNRESET');
    const late = net.connect(proxy.port, '127.0.0.1');
    sockets.add(late);
    expect(await ended(late)).toBe('ECONNRESET');
    expect(proxy.counts.broken).toBe(2);
  });

  it('refuse: listens no more, and does again on the same port', async () => {
    const socket = await connect();
    const end = ended(socket);
    await proxy.set('refuse');
    await end;
    const late = net.connect(proxy.port, '127.0.0.1');
    sockets.add(late);
    expect(await ended(late)).toBe('ECONNREFUSED');
    await proxy.set('ok');
    expect(await said(await connect(), 'again')).toBe('again');
  });

  it.each(['latency', 'slow'] as const)('%s: bytes come late, all of them, in order', async (mode) => {
    const socket = await connect();
    await proxy.set(mode);
    proxy.latencyMs = 100;
    proxy.bytesPerSecond = 50;
    const start = performance.now();
    expect(await said(socket, '12345')).toBe('12345');
    expect(performance.now() - start).toBeGreaterThan(190); // there and back
    expect(proxy.counts.bytesDelayed).toBe(10);
  });

  it('gives the address that goes through it', () => {
    expect(proxy.through('amqp://guest:guest@127.0.0.1:5672/vhost')).toBe(`amqp://guest:guest@127.0.0.1:${proxy.port}/vhost`);
  });
});
