/** The front door of messaging: all that a domain module needs of it. */ export { DefineEvent } from './event/event-definition.js';
export { EventTooLargeError, InvalidEventError } from './event/event.errors.js';
export { currentCausation, withCausation } from './event/causation.js';
export { EventConsumer, NonRetryableError } from './consumer/event-consumer.js';
export { Outbox } from './outbox/outbox.js';
export { MessagingModule } from './messaging.module.js';
export { MessagingLifecycle } from './messaging-lifecycle.js';
export { MessagingStatus } from './messaging-status.js';
export { DeadLetterNotFoundError, DeadLetterNotOpenError, DeadLetters } from './consumer/dead-letters.js';
export { OutboxClient } from './nest/outbox-client.js';
export { WaybillContext, WaybillTransport } from './nest/waybill-transport.js';

//# sourceMappingURL=index.js.map
