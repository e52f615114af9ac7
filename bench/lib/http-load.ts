import net from 'node:net';
import { quantilesOf, type Quantiles } from './numbers.js';

export interface HttpLoad {
  readonly accepted: number;
  readonly perSecond: number;
  readonly ms: Quantiles;
}

/**
 * Posts to servers in turn over so many connections, one request at a time on each, until the time is up. It writes bytes
 * and looks for the end of the answer, no more: the load must not take the CPU that is being measured.
 */
export async function postFor(
  ports: readonly number[],
  path: string,
  connections: number,
  seconds: number,
  bodyOf: (index: number) => string,
): Promise<HttpLoad> {
  const durations: number[] = [];
  const end = performance.now() + seconds * 1000;
  const start = performance.now();
  let index = 0;
  const one = (port: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
      let sentAt = 0;
      let answer = '';
      const send = (): void => {
        if (performance.now() >= end) {
          socket.end();
          return resolve();
        }
        const body = bodyOf(index++);
        sentAt = performance.now();
        socket.write(
          `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
        );
      };
      socket.setEncoding('latin1').on('data', (text: string) => {
        answer += text;
        const head = answer.indexOf('\r\n\r\n');
        if (head < 0) return;
        const length = Number(/\r\ncontent-length: (\d+)/i.exec(answer)?.[1] ?? Number.NaN);
        if (answer.length < head + 4 + length) return;
        if (!answer.startsWith('HTTP/1.1 202')) return reject(new Error(`refused: ${answer.slice(0, 400)}`));
        durations.push(performance.now() - sentAt);
        answer = '';
        send();
      });
      socket.once('connect', send).once('error', reject);
      socket.once('close', () => (performance.now() < end ? reject(new Error('the server closed the connection')) : resolve()));
    });
  await Promise.all(Array.from({ length: connections }, (_, connection) => one(ports[connection % ports.length] as number)));
  return { accepted: durations.length, perSecond: (durations.length / (performance.now() - start)) * 1000, ms: quantilesOf(durations) };
}
