import { expect } from '@jest/globals';
import { AppProcess } from '../support/app-process.js';
import { fault } from './fault.js';

fault('O1', 'a wrong environment ends the start within three seconds with every problem in one message and no secret', {}, async () => {
  const started = performance.now();
  const app = await AppProcess.launch({
    BROKER: 'kafak',
    DATABASE_URL: 'mysql://user:hunter2@host/db',
    OUTBOX_BATCH_SIZE: 'many',
    RETRY_MAX_DELAY_MS: '-1',
    KAFKA_BROKRES: 'localhost:9092',
    FAIL_AT: 'nowhere',
    OPS_TOKEN: 'with spaces hunter3',
  });
  expect(await app.ended()).toBe(78);
  expect(performance.now() - started).toBeLessThan(3000);
  for (const name of ['BROKER', 'DATABASE_URL', 'OUTBOX_BATCH_SIZE', 'RETRY_MAX_DELAY_MS', 'KAFKA_BROKRES', 'FAIL_AT', 'OPS_TOKEN'])
    expect(app.output).toMatch(new RegExp(`^\\s*\\W*${name}\\b`, 'm'));
  expect(app.output).toMatch(/did you mean KAFKA_BROKERS/);
  expect(app.output).not.toMatch(/hunter[23]/);
});

fault('O1', 'a fail point and default credentials are refused in production', {}, async () => {
  const app = await AppProcess.launch({
    NODE_ENV: 'production',
    DATABASE_URL: 'postgresql://postgres:postgres@127.0.0.1:1/db',
    BROKER: 'rabbitmq',
    RABBITMQ_URL: 'amqp://guest:guest@127.0.0.1:1',
    PAYMENT_GATEWAY: 'sandbox',
    FAIL_AT: 'relay.afterRead',
  });
  expect(await app.ended()).toBe(78);
  for (const name of ['DATABASE_URL', 'RABBITMQ_URL', 'FAIL_AT']) expect(app.output).toContain(name);
});
