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
import { Global, Module } from '@nestjs/common';
import { CONFIG } from './config.js';
export class ConfigModule {
  static for(config) {
    return {
      module: ConfigModule,
      providers: [
        {
          provide: CONFIG,
          useValue: config,
        },
      ],
      exports: [CONFIG],
    };
  }
}
ConfigModule = _ts_decorate([Global(), Module({})], ConfigModule);

//# sourceMappingURL=config.module.js.map
