import { it } from '@jest/globals';
import { Controller, Module, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { ConfigModule } from '../../src/config/config.module.js';
import { readConfig } from '../../src/config/read-config.js';
import { createHttpAdapter, setUpHttp } from '../../src/http/index.js';
import { createLogger } from '../../src/observability/create-logger.js';
import { ObservabilityModule } from '../../src/observability/observability.module.js';
@Controller('ops')
class C { @Post('secrets') x(): string { return 'x'; } }
it('repro', async () => {
  for (let i = 0; i < 25; i++) {
    const config = readConfig({ OPS_TOKEN: 'x' }, { terminal: false });
    const logger = createLogger(config, { write: () => undefined });
    @Module({ imports: [ConfigModule.for(config), ObservabilityModule.for(logger)], controllers: [C] })
    class M {}
    const app = await NestFactory.create<NestFastifyApplication>(M, createHttpAdapter(config, logger), { logger: false, abortOnError: false });
    setUpHttp(app, config, logger);
    await app.listen(0, '127.0.0.1');
    const sockets = new Set<any>();
    app.getHttpServer().on('connection', (s: any) => { sockets.add(s); s.on('close', () => sockets.delete(s)); });
    const url = await app.getUrl();
    for (const body of ['{"b":', 'x'.repeat(2 * 1024 * 1024)]) {
      const r = await fetch(`${url}/ops/secrets`, { method: 'POST', body, headers: { 'content-type': 'application/json' } });
      await r.text();
    }
    const t = Date.now();
    const closed = app.close().then(() => 'closed');
    const result = await Promise.race([closed, new Promise((r) => setTimeout(() => r('HANG'), 3000))]);
    if (result === 'HANG') {
      for (const s of sockets) process.stderr.write(JSON.stringify({ i, paused: s.isPaused(), flowing: s.readableFlowing, read: s.bytesRead, written: s.bytesWritten, ended: s.readableEnded, wEnded: s.writableEnded, httpMsg: s._httpMessage ? { finished: s._httpMessage.finished, hs: s._httpMessage.headersSent } : null, destroyed: s.destroyed, parser: !!s.parser, incoming: s.parser?.incoming ? { complete: s.parser.incoming.complete, consumed: s.parser.incoming._consumed, dumped: s.parser.incoming._dumped, flowing: s.parser.incoming.readableFlowing } : null }) + '\n');
      app.getHttpServer().closeAllConnections();
      await closed;
    } else process.stderr.write(`${i} ${Date.now() - t}ms\n`);
  }
}, 200000);
