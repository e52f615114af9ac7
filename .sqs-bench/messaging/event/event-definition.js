import 'reflect-metadata';
const DEFINITION = Symbol('event-definition');
const NAME = /^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)+$/;
const classesByType = new Map();
/**
 * Declares a class to be the data of an event type.
 * @throws Error at load time when the name is malformed or two classes claim one type
 */ export function DefineEvent(options) {
  return (target) => {
    const topic = options.topic ?? options.type.slice(0, options.type.lastIndexOf('.'));
    if (!NAME.test(options.type) || !NAME.test(topic)) {
      throw new Error(
        `Event type "${options.type}" on topic "${topic}": both must be lower-case words joined by dots, like commerce.order.placed on commerce.order`,
      );
    }
    const other = classesByType.get(options.type);
    if (other && other.name !== target.name) {
      throw new Error(`Event type "${options.type}" is claimed by both ${other.name} and ${target.name}; a type has one class`);
    }
    const definition = {
      type: options.type,
      topic,
      version: options.version ?? 1,
      key: options.key,
      onPublishFailure: options.onPublishFailure ?? 'halt',
    };
    Reflect.defineMetadata(DEFINITION, definition, target);
    classesByType.set(options.type, target);
  };
}
/** @throws Error when the class has no @DefineEvent */ export function definitionOf(eventClass) {
  const definition = Reflect.getMetadata(DEFINITION, eventClass);
  if (!definition) throw new Error(`${eventClass.name} is not an event: give it @DefineEvent({ type, key })`);
  return definition;
}
/** The class that validates a type's data, if this process knows the type. */ export function eventClassOf(type) {
  return classesByType.get(type);
}
export function knownEventDefinitions() {
  return [...classesByType.values()].map(definitionOf);
}

//# sourceMappingURL=event-definition.js.map
