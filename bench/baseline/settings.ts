export const settings = {
  databaseUrl: process.env['DATABASE_URL'] ?? '',
  port: Number(process.env['PORT']),
  brokers: (process.env['KAFKA_BROKERS'] ?? '').split(','),
  topic: process.env['BASELINE_TOPIC'] ?? '',
  group: process.env['BASELINE_GROUP'] ?? 'baseline',
  roles: (process.env['BASELINE_ROLES'] ?? '').split(','),
};
