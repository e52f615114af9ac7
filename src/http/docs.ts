import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';

/** OpenAPI at /docs for people and /docs-json for programs; `gateRequests` guards both. */
export function serveDocs(app: NestFastifyApplication): void {
  const settings = new DocumentBuilder()
    .setTitle('Waybill')
    .setDescription('Orders whose events always arrive. Every error is a problem document (RFC 9457).')
    .setVersion('1')
    .addBearerAuth()
    .build();
  SwaggerModule.setup('docs', app, () => SwaggerModule.createDocument(app, settings), { raw: ['json'] });
}
