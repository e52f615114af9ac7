import kafkajs from 'kafkajs';
import type { ISocketFactoryArgs, KafkaConfig as ClientConfig, LogEntry, RetryOptions } from 'kafkajs';
import net from 'node:net';
import tls from 'node:tls';
import { handleRecordsAtOnce } from './kafkajs-records.js';
import { calmTimers } from './kafkajs-timers.js';
import { CONNECT_TIMEOUT_MS, type KafkaSettings } from './kafka.settings.js';

const KEEP_ALIVE_MS = 10_000;

calmTimers();
handleRecordsAtOnce();

/**
 * One kafkajs client, for one producer, admin or consumer: what kafkajs shares within a client would mix two
 * subscriptions of a group up. It knows its sockets, because kafkajs alone does not let go of a peer that is silent.
 */
export class KafkaClient {
  readonly kafka: InstanceType<typeof kafkajs.Kafka>;
  private readonly sockets = new Set<net.Socket>();
  private destroyed: Error | undefined;

  constructor({ kafka, instance, logger }: KafkaSettings) {
    this.kafka = new kafkajs.Kafka({
      clientId: `waybill-${instance}`,
      brokers: rotated(kafka.brokers),
      connectionTimeout: CONNECT_TIMEOUT_MS,
      authenticationTimeout: kafka.requestTimeoutMs,
      requestTimeout: kafka.requestTimeoutMs,
      enforceRequestTimeout: true,
      retry: retryOptions(Math.max(2, kafka.brokers.length)),
      ...(kafka.ssl && { ssl: { rejectUnauthorized: true, ...(kafka.ca !== undefined && { ca: [kafka.ca] }) } }),
      // A copy, because kafkajs writes into it.
      ...(kafka.sasl && { sasl: { ...kafka.sasl } as NonNullable<ClientConfig['sasl']> }),
      socketFactory: (args) => this.connect(args),
      logLevel: kafkajs.logLevel.WARN,
      // What fails is told by our own errors; these lines only help to understand it.
      logCreator: () => (entry) => logger.debug(fieldsOf(entry), `kafkajs: ${entry.log.message}`),
    });
  }

  /** Cuts all connections, and every one that kafkajs may still try to make. */
  destroy(reason: Error): void {
    this.destroyed ??= reason;
    for (const socket of this.sockets) socket.destroy(reason);
  }

  private connect({ host, port, ssl, onConnect }: ISocketFactoryArgs): net.Socket {
    if (this.destroyed) return new net.Socket().destroy(this.destroyed);
    const socket = ssl
      ? tls.connect({ host, port, ...(net.isIP(host) === 0 && { servername: host }), ...ssl }, onConnect)
      : net.connect({ host, port }, onConnect);
    // kafkajs adds a listener each time it lets go of a connection that is gone already.
    socket.setKeepAlive(true, KEEP_ALIVE_MS).setNoDelay(true).setMaxListeners(0);
    this.sockets.add(socket);
    socket.once('close', (failed) => {
      this.sockets.delete(socket);
      // kafkajs listens for the end and for errors only, and would hold a socket that closed without either for alive.
      if (!failed && !socket.readableEnded) socket.emit('end');
    });
    return socket;
  }
}

/** All of them explicit: kafkajs has other defaults under NODE_ENV=test. */
export function retryOptions(retries: number): RetryOptions {
  return {
    initialRetryTime: 100,
    maxRetryTime: 1_000,
    factor: 0.2,
    multiplier: 2,
    retries,
    restartOnFailure: () => Promise.resolve(false),
  };
}

/** A client that is made anew must not begin with the same dead broker each time. */
function rotated(brokers: readonly string[]): string[] {
  const first = Math.floor(Math.random() * brokers.length);
  return [...brokers.slice(first), ...brokers.slice(0, first)];
}

function fieldsOf({ namespace, label, log }: LogEntry): Record<string, unknown> {
  const { groupId, memberId, broker, error, retryCount } = log as Record<string, unknown>;
  return { namespace, label, groupId, memberId, broker, retryCount, error: error instanceof Error ? error.message : error };
}
