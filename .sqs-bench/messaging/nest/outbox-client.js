function _ts_decorate(decorators, target, key, desc) {
  var c = arguments.length,
    r = c < 3 ? target : desc === null ? (desc = Object.getOwnPropertyDescriptor(target, key)) : desc,
    d;
  if (typeof Reflect === 'object' && typeof Reflect.decorate === 'function') {
    r = Reflect.decorate(decorators, target, key, desc);
  } else {
    for (var i = decorators.length - 1; i >= 0; i--) {
      if ((d = decorators[i])) {
        r = (c < 3 ? d(r) : c > 3 ? d(target, key, r) : d(target, key)) || r;
      }
    }
  }
  return (c > 3 && r && Object.defineProperty(target, key, r), r);
}
function _ts_metadata(metadataKey, metadataValue) {
  if (typeof Reflect === 'object' && typeof Reflect.metadata === 'function') {
    return Reflect.metadata(metadataKey, metadataValue);
  }
}
import { Injectable } from '@nestjs/common';
import { ClientProxy } from '@nestjs/microservices';
import { plainToInstance } from 'class-transformer';
import { Database } from '../../database/database.js';
import { eventClassOf } from '../event/event-definition.js';
import { Outbox } from '../outbox/outbox.js';
/** Asked of a client that only emits. */ export class NoAnswerError extends Error {
  code = 'MESSAGING.NO_ANSWER';
  name = 'NoAnswerError';
}
export class OutboxClient extends ClientProxy {
  database;
  outbox;
  constructor(database, outbox) {
    (super(), (this.database = database), (this.outbox = outbox));
  }
  connect() {
    return Promise.resolve();
  }
  close() {}
  unwrap() {
    return this.outbox;
  }
  /** @throws InvalidEventError, Error when no class has the type */ async dispatchEvent(packet) {
    const type = this.normalizePattern(packet.pattern);
    const eventClass = eventClassOf(type);
    if (!eventClass) throw new Error(`no class has @DefineEvent with the type "${type}"`);
    const data = packet.data;
    const event = data instanceof eventClass ? data : plainToInstance(eventClass, data);
    const emit = (tx) => this.outbox.emit(tx, event);
    const current = this.database.currentTransaction();
    if (current) emit(current);
    else await this.database.transaction((tx) => Promise.resolve(emit(tx)));
    return undefined;
  }
  publish(_packet, callback) {
    callback({
      err: new NoAnswerError('events have no answer; use emit, or call the other module inside the process'),
    });
    return () => undefined;
  }
}
OutboxClient = _ts_decorate(
  [
    Injectable(),
    _ts_metadata('design:type', Function),
    _ts_metadata('design:paramtypes', [
      typeof Database === 'undefined' ? Object : Database,
      typeof Outbox === 'undefined' ? Object : Outbox,
    ]),
  ],
  OutboxClient,
);

//# sourceMappingURL=outbox-client.js.map
