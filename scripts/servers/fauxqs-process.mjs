// @ts-check
import net from 'node:net';
import { startFauxqs } from 'fauxqs';

const [port, dataDir = ''] = process.argv.slice(2);

// fauxqs listens on every address of the machine, without a setting for it.
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = /** @type {typeof listen} */ (
  /** @this {net.Server} @param {net.ListenOptions} options @param {...any} rest */
  function (options, ...rest) {
    return listen.call(this, { ...options, host: '127.0.0.1' }, ...rest);
  }
);

const server = await startFauxqs({ port: Number(port), dataDir, logger: false });

process.once('SIGTERM', () => void server.stop().then(() => process.exit(0)));
