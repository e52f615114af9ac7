/**
 * Messages that the broker leaves with one queue's consumer unacknowledged.
 * WARNING: never lower it. What a consumer leaves behind goes back to the queue's head; a successor that takes
 * fewer, and then dies too, has the rest delivered before them, and order is lost (tried on 3.10 and 4.0).
 * That is why it does not follow from the configuration.
 */ export const PREFETCH = 32;

//# sourceMappingURL=rabbitmq.settings.js.map
