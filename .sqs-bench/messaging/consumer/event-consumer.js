import { DiscoveryService } from '@nestjs/core';
/** Marks a provider as the handler of one event type in one group: `@EventConsumer({ event: OrderPlaced, group: 'inventory' })`. */ export const EventConsumer =
  DiscoveryService.createDecorator();
/** Throw it when trying again cannot help: the event goes to the dead letters now. */ export class NonRetryableError extends Error {
  code = 'CONSUMER.NON_RETRYABLE';
  name = 'NonRetryableError';
}

//# sourceMappingURL=event-consumer.js.map
