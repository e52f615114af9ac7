import { Injectable } from '@nestjs/common';
import { ClientProxy, type ReadPacket, type WritePacket } from '@nestjs/microservices';
import { plainToInstance } from 'class-transformer';
import { Database, type Transaction } from '../../database/database.js';
import { eventClassOf } from '../event/event-definition.js';
import { Outbox } from '../outbox/outbox.js';

/** Asked of a client that only emits. */
export class NoAnswerError extends Error {
  readonly code = 'MESSAGING.NO_ANSWER';
  override readonly name = 'NoAnswerError';
}

/**
 * Nest's ClientProxy over the outbox: `client.emit('commerce.order.placed', data)` joins the transaction it is
 * called in, else makes one of its own, and completes when the event is in the outbox. Subscribe to what it
 * answers, as with every ClientProxy in Nest: an emit is hot, so the event goes also without.
 */
@Injectable()
export class OutboxClient extends ClientProxy {
  constructor(
    private readonly database: Database,
    private readonly outbox: Outbox,
  ) {
    super();
  }

  connect(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {}

  unwrap<T>(): T {
    return this.outbox as T;
  }

  /** @throws InvalidEventError, Error when no class has the type */
  protected override async dispatchEvent<T>(packet: ReadPacket): Promise<T> {
    const type = this.normalizePattern(packet.pattern as string);
    const eventClass = eventClassOf(type);
    if (!eventClass) throw new Error(`no class has @DefineEvent with the type "${type}"`);
    const data = packet.data as object;
    const event = data instanceof eventClass ? data : plainToInstance(eventClass as new () => object, data);
    const emit = (tx: Transaction): void => this.outbox.emit(tx, event as object);
    const current = this.database.currentTransaction();
    if (current) emit(current);
    else await this.database.transaction((tx) => Promise.resolve(emit(tx)));
    return undefined as T;
  }

  protected override publish(_packet: ReadPacket, callback: (packet: WritePacket) => void): () => void {
    callback({ err: new NoAnswerError('events have no answer; use emit, or call the other module inside the process') });
    return () => undefined;
  }
}
