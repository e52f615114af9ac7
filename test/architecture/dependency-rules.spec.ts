import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { ROOT } from './source-tree.js';

interface Violation {
  readonly rule: { readonly name: string };
  readonly from: string;
  readonly to: string;
}

/** A tree with one file for each thing that is forbidden, and one with everything that is allowed. */
const PLANTED: Readonly<Record<string, string>> = {
  'src/config/config.ts': 'export interface Config { readonly port: number }',
  'src/database/database.ts': 'export class Database {}',
  'src/http/page.ts': 'export interface Page { readonly items: readonly unknown[] }',
  'src/ops/ops.service.ts': 'export class OpsService {}',
  'src/observability/logger.ts': 'export class Logger {}',
  'src/messaging/index.ts': "export { Outbox } from './outbox/outbox.js';",
  'src/messaging/outbox/outbox.ts': 'export class Outbox {}',
  'src/messaging/outbox/reads-consumer.ts': "import { Inbox } from '../consumer/inbox.js';\nexport const a = Inbox;",
  'src/messaging/consumer/inbox.ts': 'export class Inbox {}',
  'src/messaging/consumer/reads-outbox.ts': "import type { Outbox } from '../outbox/outbox.js';\nexport type B = Outbox;",
  'src/messaging/reads-module.ts': "import { OrderPlaced } from '../modules/order/order.events.js';\nexport const c = OrderPlaced;",
  'src/messaging/reads-adapter.ts': "import { KafkaAdapter } from './transport/kafka/kafka.adapter.js';\nexport const d = KafkaAdapter;",
  'src/messaging/transport/brokers.ts':
    "export const brokers = [() => import('./kafka/kafka.adapter.js'), () => import('./sqs/sqs.adapter.js')];",
  'src/messaging/transport/kafka/kafka.adapter.ts': "import kafkajs from 'kafkajs';\nexport class KafkaAdapter { k = kafkajs; }",
  'src/messaging/transport/kafka/kafka.amqp.ts': "import amqp from 'amqplib';\nexport const e = amqp;",
  'src/messaging/transport/rabbitmq/rabbitmq.adapter.ts': "import amqp from 'amqplib';\nexport const f = amqp;",
  'src/messaging/transport/rabbitmq/rabbitmq.sqs.ts': "import { SQSClient } from '@aws-sdk/client-sqs';\nexport const g = SQSClient;",
  'src/messaging/transport/sqs/sqs.adapter.ts':
    "import { SQSClient } from '@aws-sdk/client-sqs';\nexport class SqsAdapter { s = SQSClient; }",
  'src/messaging/transport/sqs/sqs.kafka.ts': "import type { Kafka } from 'kafkajs';\nexport type H = Kafka;",
  'src/messaging/transport/sqs/sqs.neighbour.ts':
    "import type { KafkaAdapter } from '../kafka/kafka.adapter.js';\nexport type I = KafkaAdapter;",
  'src/modules/order/order.events.ts': 'export class OrderPlaced {}',
  'src/modules/order/order.service.ts': 'export class OrderService {}',
  'src/modules/payment/payment.service.ts': [
    "import { Database } from '../../database/database.js';",
    "import type { Page } from '../../http/page.js';",
    "import type { Config } from '../../config/config.js';",
    "import { Logger } from '../../observability/logger.js';",
    "import { Outbox } from '../../messaging/index.js';",
    "import { OrderPlaced } from '../order/order.events.js';",
    'export const allowed = [Database, Logger, Outbox, OrderPlaced];',
    'export type Allowed = Page | Config;',
  ].join('\n'),
  'src/modules/payment/reads-neighbour.ts': "import type { OrderService } from '../order/order.service.js';\nexport type J = OrderService;",
  'src/modules/payment/reads-inside-messaging.ts': "import { Outbox } from '../../messaging/outbox/outbox.js';\nexport const k = Outbox;",
  'src/modules/payment/reads-ops.ts': "import { OpsService } from '../../ops/ops.service.js';\nexport const l = OpsService;",
  'src/modules/payment/reads-nothing.ts': "import { gone } from './gone.js';\nexport const m = gone;",
  'src/modules/payment/reads-test-tool.ts': "import { expect } from '@jest/globals';\nexport const n = expect;",
  'src/modules/payment/egg.ts': "import type { Hen } from './hen.js';\nexport interface Egg { readonly hen: Hen }",
  'src/modules/payment/hen.ts': "import type { Egg } from './egg.js';\nexport interface Hen { readonly egg: Egg }",
};

describe('the dependency rules', () => {
  let planted: string;
  beforeAll(() => {
    planted = mkdtempSync(path.join(tmpdir(), 'waybill-rules-'));
    for (const [file, content] of Object.entries(PLANTED)) {
      mkdirSync(path.dirname(path.join(planted, file)), { recursive: true });
      writeFileSync(path.join(planted, file), content);
    }
    for (const file of ['.dependency-cruiser.cjs', 'tsconfig.json', 'package.json'])
      cpSync(path.join(ROOT, file), path.join(planted, file));
    symlinkSync(path.join(ROOT, 'node_modules'), path.join(planted, 'node_modules'), 'junction');
  });
  afterAll(() => rmSync(planted, { recursive: true, force: true }));

  it('are kept by the project', async () => {
    expect(await violationsIn(ROOT)).toEqual([]);
  });

  it('catch a planted violation each, and nothing that is allowed', async () => {
    const found = await violationsIn(planted);
    expect(found).toEqual([
      'adapter-knows-no-other-adapter: src/messaging/transport/sqs/sqs.neighbour.ts',
      'client-library-of-kafka: src/messaging/transport/sqs/sqs.kafka.ts',
      'client-library-of-rabbitmq: src/messaging/transport/kafka/kafka.amqp.ts',
      'client-library-of-sqs: src/messaging/transport/rabbitmq/rabbitmq.sqs.ts',
      'consumer-knows-no-outbox: src/messaging/consumer/reads-outbox.ts',
      'messaging-knows-no-module: src/messaging/reads-module.ts',
      'module-imports-nothing-else-of-src: src/modules/payment/reads-ops.ts',
      'module-imports-only-events-of-another: src/modules/payment/reads-neighbour.ts',
      'module-sees-messaging-by-its-front-door: src/modules/payment/reads-inside-messaging.ts',
      'no-cycle: src/modules/payment/egg.ts',
      'no-development-package: src/modules/payment/reads-test-tool.ts',
      'no-unresolvable: src/modules/payment/reads-nothing.ts',
      'only-the-list-of-brokers-knows-adapters: src/messaging/reads-adapter.ts',
      'outbox-knows-no-consumer: src/messaging/outbox/reads-consumer.ts',
    ]);
  });

  it('are all proved by the planted tree', async () => {
    const { default: configuration } = (await import(pathToFileURL(path.join(ROOT, '.dependency-cruiser.cjs')).href)) as {
      default: { forbidden: readonly { readonly name: string }[] };
    };
    const caught = new Set((await violationsIn(planted)).map((violation) => violation.split(':')[0]));
    expect(configuration.forbidden.map(({ name }) => name).filter((name) => !caught.has(name))).toEqual([]);
  });
});

/** `rule: file`, each once, sorted. */
async function violationsIn(folder: string): Promise<string[]> {
  const cruiser = path.join(ROOT, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs');
  const output = await promisify(execFile)(
    process.execPath,
    [cruiser, '--config', '.dependency-cruiser.cjs', '--output-type', 'json', 'src'],
    {
      cwd: folder,
      maxBuffer: 256 * 1024 * 1024,
    },
  ).then(
    ({ stdout }) => stdout,
    (error: Error & { stdout?: string }) => {
      // It exits with the number of violations.
      if (!error.stdout?.startsWith('{')) throw error;
      return error.stdout;
    },
  );
  const { summary } = JSON.parse(output) as { summary: { violations: readonly Violation[]; totalCruised: number } };
  expect(summary.totalCruised).toBeGreaterThan(20); // that it looked at anything
  return [...new Set(summary.violations.map(({ rule, from }) => `${rule.name}: ${from}`))].sort();
}
