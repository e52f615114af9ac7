/** The CloudEvents 1.0 attributes of an event, with their names of the specification, and its data. */
export interface EventEnvelope<E = unknown> {
  readonly specversion: '1.0';
  /** UUIDv7; what a group remembers the event by. */
  readonly id: string;
  readonly source: string;
  readonly type: string;
  /** The aggregate's id, as `partitionkey`. */
  readonly subject: string;
  /** ISO 8601 UTC. */
  readonly time: string;
  /** `urn:waybill:<type>:v<major>` */
  readonly dataschema: string;
  /** Order is kept among the events of one key on one topic. */
  readonly partitionkey: string;
  /** The request or first event that everything in this chain goes back to. */
  readonly correlationid: string;
  /** The event that led to this one. */
  readonly causationid?: string;
  /** W3C trace context. */
  readonly traceparent?: string;
  readonly data: E;
}

/** An event as it crosses a broker: CloudEvents binary mode, attributes as headers, the data as the body. */
export interface WireEvent {
  readonly headers: Readonly<Record<string, string>>;
  readonly payload: Buffer;
}

/** The same as the outbox keeps it: the data as text. */
export interface EventText {
  readonly headers: Readonly<Record<string, string>>;
  readonly payload: string;
}
