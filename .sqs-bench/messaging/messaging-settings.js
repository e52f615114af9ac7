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
import { CONFIG } from '../config/config.js';
export class MessagingSettings {
  config;
  /** CloudEvents `source` of everything this application emits. */ source;
  lanes;
  brokerName;
  instance;
  constructor(config) {
    this.config = config;
    this.source = `urn:waybill:${config.broker.namespace}`;
    this.lanes = config.outbox.lanes;
    this.brokerName = config.broker.name;
    this.instance = config.instance;
  }
}
MessagingSettings = _ts_decorate(
  [
    Injectable(),
    _ts_param(0, Inject(CONFIG)),
    _ts_metadata('design:type', Function),
    _ts_metadata('design:paramtypes', [typeof Config === 'undefined' ? Object : Config]),
  ],
  MessagingSettings,
);

//# sourceMappingURL=messaging-settings.js.map
