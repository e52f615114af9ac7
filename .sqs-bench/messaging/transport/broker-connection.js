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
function _ts_param(paramIndex, decorator) {
  return function (target, key) {
    decorator(target, key, paramIndex);
  };
}
import { Inject, Injectable } from '@nestjs/common';
import { LOGGER } from '../../observability/logger.js';
import { Metrics } from '../../observability/metrics.js';
import { backoffMs } from './backoff.js';
import { BrokerUnavailableError, TopologyMismatchError } from './broker-adapter.js';
/** Injection token of the adapter that BROKER chose. */ export const BROKER_ADAPTER = Symbol('BROKER_ADAPTER');
const CHECK_INTERVAL_MS = 3000;
const CHECK_TIMEOUT_MS = 6000;
const OPEN_BASE_MS = 250;
const OPEN_MAX_MS = 5000;
export class BrokerConnection {
  adapter;
  logger;
  metrics;
  opened;
  isOpen = false;
  trouble = new BrokerUnavailableError('the broker has not been reached yet');
  stopping = new AbortController();
  timer;
  constructor(adapter, logger, metrics) {
    this.adapter = adapter;
    this.logger = logger;
    this.metrics = metrics;
  }
  get maxMessageBytes() {
    return this.adapter.maxMessageBytes;
  }
  /**
   * Makes the topology; when the broker cannot be reached, goes on trying in the background and resolves.
   * @throws TopologyMismatchError what exists contradicts the configuration: a person must decide
   */ async start(topology) {
    const first = await this.tryOpen(topology);
    if (first instanceof TopologyMismatchError) throw first;
    this.opened = first ? this.keepOpening(topology) : Promise.resolve();
    void this.keepChecking();
  }
  /** Resolves once the topology exists; never rejects, and never resolves when the process stops first. */ whenOpen() {
    return this.opened ?? new Promise(() => undefined);
  }
  /** @throws the reason why the broker cannot be used now */ assertUsable() {
    if (this.trouble) throw this.trouble;
  }
  async stop() {
    this.stopping.abort();
    clearTimeout(this.timer);
    await this.adapter.close();
  }
  async tryOpen(topology) {
    try {
      await this.adapter.open(topology);
      this.isOpen = true;
      this.setTrouble(undefined);
      return undefined;
    } catch (error) {
      this.setTrouble(error);
      return error;
    }
  }
  async keepOpening(topology) {
    for (let failures = 1; !this.stopping.signal.aborted; failures++) {
      await this.pause(backoffMs(failures, OPEN_BASE_MS, OPEN_MAX_MS));
      if (!this.stopping.signal.aborted && !(await this.tryOpen(topology))) return;
    }
    await new Promise(() => undefined);
  }
  async keepChecking() {
    while (!this.stopping.signal.aborted) {
      await this.pause(CHECK_INTERVAL_MS);
      if (this.stopping.signal.aborted || !this.isOpen) continue;
      this.setTrouble(await this.answers());
    }
  }
  async answers() {
    let timer;
    const timeout = new Promise((_, reject) => {
      timer = setTimeout(
        () => reject(new BrokerUnavailableError(`the broker did not answer within ${CHECK_TIMEOUT_MS} ms`)),
        CHECK_TIMEOUT_MS,
      );
    });
    try {
      await Promise.race([this.adapter.check(), timeout]);
      return undefined;
    } catch (error) {
      return error;
    } finally {
      clearTimeout(timer);
    }
  }
  setTrouble(trouble) {
    if (trouble && trouble.message !== this.trouble?.message)
      this.logger.warn(
        {
          err: trouble,
        },
        'the broker cannot be used; events wait in the outbox',
      );
    if (!trouble && this.trouble) this.logger.info('the broker is connected');
    this.trouble = trouble;
    this.metrics.brokerUp.set(trouble ? 0 : 1);
  }
  pause(ms) {
    return new Promise((resolve) => {
      this.timer = setTimeout(resolve, ms);
      this.stopping.signal.addEventListener('abort', () => resolve(), {
        once: true,
      });
    });
  }
}
BrokerConnection = _ts_decorate(
  [
    Injectable(),
    _ts_param(0, Inject(BROKER_ADAPTER)),
    _ts_param(1, Inject(LOGGER)),
    _ts_metadata('design:type', Function),
    _ts_metadata('design:paramtypes', [
      typeof BrokerAdapter === 'undefined' ? Object : BrokerAdapter,
      typeof Logger === 'undefined' ? Object : Logger,
      typeof Metrics === 'undefined' ? Object : Metrics,
    ]),
  ],
  BrokerConnection,
);

//# sourceMappingURL=broker-connection.js.map
