/** The CloudEvents 1.0 attributes of an event, with their names of the specification, and its data. */ /** An event as it crosses a broker: CloudEvents binary mode, attributes as headers, the data as the body. */ export {};

//# sourceMappingURL=event-envelope.js.map
