import { Catch, type INestApplication, type RpcExceptionFilter } from '@nestjs/common';
import type { NestMicroservice } from '@nestjs/microservices';
import { throwError, type Observable } from 'rxjs';
import { WaybillTransport } from './waybill-transport.js';

/** Nest would pass on that there was an error and hide which; but a NonRetryableError and an outage of the database are not like others. */
@Catch()
class PassOnFilter implements RpcExceptionFilter {
  catch(error: unknown): Observable<never> {
    return throwError(() => error);
  }
}

/** Lets the application's @EventPattern handlers consume. To be called once, before `startAllMicroservices`. */
export function serveEventPatterns(app: INestApplication): void {
  const strategy = app.get(WaybillTransport);
  // Deferred, because a handler gets the filters that there are when it is registered; the hooks are the application's to call.
  const microservice = app.connectMicroservice({ strategy }, { deferInitialization: true }) as NestMicroservice;
  microservice.useGlobalFilters(new PassOnFilter());
  microservice.registerListeners();
  microservice.setIsInitialized(true);
  microservice.setIsInitHookCalled(true);
}
