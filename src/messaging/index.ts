/** The front door of messaging: all that a domain module needs of it. */
export { DefineEvent, type EventClass, type PublishFailurePolicy } from './event/event-definition.js';
export type { EventEnvelope } from './event/event-envelope.js';
export { EventTooLargeError, InvalidEventError } from './event/event.errors.js';
export { currentCausation, loggedCausation, withCausation, type Causation } from './event/causation.js';
export {
  EventConsumer,
  NonRetryableError,
  type BatchContext,
  type BatchEventHandler,
  type ConsumeContext,
  type EventHandler,
  type IEventConsumer,
} from './consumer/event-consumer.js';
export { Outbox } from './outbox/outbox.js';
export { MessagingModule } from './messaging.module.js';
export { MessagingLifecycle } from './messaging-lifecycle.js';
export { MessagingStatus, type GroupStatus, type OutboxStatus } from './messaging-status.js';
export { DeadLetterNotFoundError, DeadLetterNotOpenError, DeadLetters } from './consumer/dead-letters.js';
export { OutboxClient } from './nest/outbox-client.js';
export { serveEventPatterns } from './nest/serve-event-patterns.js';
export { WaybillContext } from './nest/waybill-transport.js';
