import type { EventText, WireEvent } from '../event/event-envelope.js';

/** A message on its way to the broker. */
export interface OutgoingMessage extends WireEvent {
  readonly eventId: string;
  readonly topic: string;
  readonly type: string;
  readonly key: string;
}

/** What `maxMessageBytes` bounds: the payload and all header names and values, in bytes of UTF-8. */
export function messageBytes({ headers, payload }: WireEvent | EventText): number {
  let bytes = Buffer.byteLength(payload);
  for (const [name, value] of Object.entries(headers)) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  return bytes;
}

/** One delivery from the broker. Its bytes are not yet known to be an event. */
export interface IncomingMessage extends WireEvent {
  /** Where the broker keeps it, the same again at a redelivery where the broker allows it: `commerce.order/3/1042`. */
  readonly deliveryId: string;
  readonly topic: string;
  /** What the broker orders by; null when the message carries none. */
  readonly key: string | null;
  /** Aborted when the adapter has lost its right to this delivery; it will be delivered again. */
  readonly signal: AbortSignal;
  /** Set when the broker's own delivery limit gave the message up, with the reason: it becomes a dead letter without being handled. */
  readonly undeliverable?: string;
}

/** One group's interest in one topic. */
export interface Subscription {
  readonly group: string;
  readonly topic: string;
}

/** Everything that must exist at the broker before the first event. */
export interface Topology {
  readonly topics: readonly string[];
  readonly subscriptions: readonly Subscription[];
  /** `<topic>.DLT` of each topic: written for broker-side tools, read by nobody here. */
  readonly deadLetterTopics: readonly string[];
}

/**
 * `settled`: handled, parked or dead-lettered, in any case safe in the database; the broker's copy may go.
 * `release`: not handled; leave it to be delivered again, in its place before later ones of its key.
 */
export type Settlement = 'settled' | 'release';

/** Never rejects. Calls for one key must be made in the key's order; it keeps that order and runs different keys in parallel. */
export type Deliver = (message: IncomingMessage) => Promise<Settlement>;

export interface SubscribeOptions {
  /** At most this many deliveries of the subscription may be unsettled at once; beyond it the broker waits. */
  readonly maxInFlight: number;
  /** Called at most once, when the subscription has died by itself and must be made anew. */
  readonly onDown: (reason: Error) => void;
}

export interface ActiveSubscription {
  /** Takes nothing more, waits for deliveries in flight to settle, tells the broker of them, and lets go. Safe to call after `onDown`. */
  close(): Promise<void>;
}

/**
 * What a broker must be able to do. An adapter carries bytes and does what it is told: it decodes
 * nothing, retries nothing and drops nothing. It does not reconnect by itself either: `publish` connects
 * when it is not connected, a dead subscription says so by `onDown`, and the callers decide when to try again.
 */
export interface BrokerAdapter {
  /** The largest payload plus headers, in bytes, that is sure to be accepted. */
  readonly maxMessageBytes: number;

  /**
   * Creates what is missing, or only checks it when provisioning is off; idempotent, safe while other
   * instances do the same, deletes nothing. A queue of a subscription exists from here on, so that nothing
   * published before its first subscriber is lost.
   * @throws TopologyMismatchError when what exists differs in a way that cannot be mended
   */
  open(topology: Topology): Promise<void>;

  /**
   * Publishes a batch. Entries of one key are in order and reach the broker in that order, a later one only if
   * every earlier one of its key was confirmed. Answers one outcome an entry: undefined on the broker's proof
   * that it is safe, else the error; a MessageRejectedError is that entry's own fault, any other means that
   * the broker could not be reached. Settles in bounded time whatever the network does. Rejecting means that
   * nothing is known of any entry. Calls are never concurrent.
   */
  publish(messages: readonly OutgoingMessage[]): Promise<readonly (Error | undefined)[]>;

  /** Starts to consume; resolves once the subscription is established. A new group starts at the oldest message. */
  subscribe(subscription: Subscription, deliver: Deliver, options: SubscribeOptions): Promise<ActiveSubscription>;

  /** Resolves when the broker answers now, rejects with the reason when it does not; within 5 s. */
  check(): Promise<void>;

  /** Ends every connection. Subscriptions are closed before. */
  close(): Promise<void>;
}

/** Optional: tells how many messages a subscription has not settled yet. */
export interface MeasuresLag {
  lag(subscription: Subscription): Promise<number>;
}

export function measuresLag(adapter: BrokerAdapter): adapter is BrokerAdapter & MeasuresLag {
  return 'lag' in adapter;
}

/**
 * Optional: the broker keeps no list of subscribers, the adapter makes a copy for each group as it publishes. So it
 * is told of all groups, those of other versions of the application included, before the events that are for them.
 */
export interface FansOut {
  /** From the next `publish` on, events go to all of these groups. */
  serve(subscriptions: readonly Subscription[]): Promise<void>;
}

export function fansOut(adapter: BrokerAdapter): adapter is BrokerAdapter & FansOut {
  return 'serve' in adapter;
}

/** How many rows of each topic have left the outbox. */
export type MovedRows = ReadonlyMap<string, number>;

/** Optional: the broker is the database itself, and takes rows straight out of the outbox in one statement. */
export interface MovesOutbox {
  moveOutbox(request: {
    lanes: readonly number[];
    /** For each of the lanes an id below which it has no row. */
    lows: readonly string[];
    topics: readonly string[];
    heldKeys: readonly string[];
    limit: number;
  }): Promise<MovedRows>;
}

export function movesOutbox(adapter: BrokerAdapter): adapter is BrokerAdapter & MovesOutbox {
  return 'moveOutbox' in adapter;
}

/** This one message can never be accepted as it is: too large, unroutable, an unknown topic. */
export class MessageRejectedError extends Error {
  readonly code = 'BROKER.MESSAGE_REJECTED';
  override readonly name = 'MessageRejectedError';
}

/** What exists at the broker contradicts the configuration; the message names the thing, both values and the cure. */
export class TopologyMismatchError extends Error {
  readonly code = 'BROKER.TOPOLOGY_MISMATCH';
  override readonly name = 'TopologyMismatchError';
}

/** The broker cannot be reached or does not answer in time. */
export class BrokerUnavailableError extends Error {
  readonly code = 'BROKER.UNAVAILABLE';
  override readonly name = 'BrokerUnavailableError';
}
