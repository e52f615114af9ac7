/** The one list of brokers. Only the chosen one's client library is loaded. */ export const brokers = {
  postgres: async (settings) => new (await import('./postgres/postgres.adapter.js')).PostgresAdapter(settings),
  kafka: async (settings) => new (await import('./kafka/kafka.adapter.js')).KafkaAdapter(settings),
  rabbitmq: async (settings) => new (await import('./rabbitmq/rabbitmq.adapter.js')).RabbitmqAdapter(settings),
  sqs: async (settings) => new (await import('./sqs/sqs.adapter.js')).SqsAdapter(settings),
};

//# sourceMappingURL=brokers.js.map
