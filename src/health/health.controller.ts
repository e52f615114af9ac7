import { Controller, Get, Header } from '@nestjs/common';
import { ApiOkResponse, ApiServiceUnavailableResponse, ApiTags } from '@nestjs/swagger';
import { ProblemError } from '../http/index.js';
import { HealthRegistry } from './health-registry.js';

@ApiTags('health')
@Controller('health')
export class HealthController {
  constructor(private readonly health: HealthRegistry) {}

  /** The process runs and answers; nothing is said of what it depends on. */
  @Get('live')
  @Header('cache-control', 'no-store')
  @ApiOkResponse()
  live(): { status: 'up' } {
    return { status: 'up' };
  }

  @Get('ready')
  @Header('cache-control', 'no-store')
  @ApiOkResponse()
  @ApiServiceUnavailableResponse({ description: 'a problem document that names each reason' })
  ready(): { status: 'up' } {
    const reasons = this.health.reasons();
    if (reasons.length > 0) {
      throw new ProblemError(503, 'NOT_READY', 'Not Ready', reasons.map(({ name, reason }) => `${name}: ${reason}`).join('; '), {
        headers: { 'retry-after': '2' },
        extensions: { reasons },
      });
    }
    return { status: 'up' };
  }
}
