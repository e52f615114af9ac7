import 'reflect-metadata';

/** What the relay does with a key whose event the broker refuses for good: wait and alarm, step aside with the key, or step over the one event. */
export type PublishFailurePolicy = 'halt' | 'park' | 'skip';

export interface EventDefinition {
  /** Past tense, dotted: `commerce.order.placed`. WARNING: renaming it orphans stored events. */
  readonly type: string;
  /** The stream of one aggregate; all types that must keep their order share it. */
  readonly topic: string;
  /** Major version of the data's schema; a consumer refuses a newer one. */
  readonly version: number;
  /** The property of the data that order is kept by: the aggregate's id. */
  readonly key: string;
  readonly onPublishFailure: PublishFailurePolicy;
}

/** A class of event data: plain properties with class-validator decorators. */
export type EventClass<E = unknown> = new (...args: never[]) => E;

interface DefineEventOptions<K extends string> {
  type: string;
  key: K;
  /** Default: the type without its last word. */
  topic?: string;
  /** Default: 1. */
  version?: number;
  /** Default: `halt`. */
  onPublishFailure?: PublishFailurePolicy;
}

const DEFINITION = Symbol('event-definition');
const NAME = /^[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)+$/;
const classesByType = new Map<string, EventClass>();

/**
 * Declares a class to be the data of an event type.
 * @throws Error at load time when the name is malformed or two classes claim one type
 */
export function DefineEvent<K extends string>(options: DefineEventOptions<K>) {
  return <C extends new (...args: never[]) => { [P in K]: string }>(target: C): void => {
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
    const definition: EventDefinition = {
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

/** @throws Error when the class has no @DefineEvent */
export function definitionOf(eventClass: EventClass): EventDefinition {
  const definition = Reflect.getMetadata(DEFINITION, eventClass) as EventDefinition | undefined;
  if (!definition) throw new Error(`${eventClass.name} is not an event: give it @DefineEvent({ type, key })`);
  return definition;
}

/** The class that validates a type's data, if this process knows the type. */
export function eventClassOf(type: string): EventClass | undefined {
  return classesByType.get(type);
}

export function knownEventDefinitions(): EventDefinition[] {
  return [...classesByType.values()].map(definitionOf);
}
