import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type BrokerName, type Config } from '../config/config.js';

/** What all of messaging needs of the configuration. */
@Injectable()
export class MessagingSettings {
  /** CloudEvents `source` of everything this application emits. */
  readonly source: string;
  readonly lanes: number;
  readonly brokerName: BrokerName;
  readonly instance: string;

  constructor(@Inject(CONFIG) readonly config: Config) {
    this.source = `urn:waybill:${config.broker.namespace}`;
    this.lanes = config.outbox.lanes;
    this.brokerName = config.broker.name;
    this.instance = config.instance;
  }
}
