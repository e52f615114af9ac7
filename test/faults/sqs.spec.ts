import { SQS } from '@aws-sdk/client-sqs';
import { expect } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { Metrics } from '../../src/observability/metrics.js';
import { serverOf } from '../support/brokers-under-test.js';
import { eventually } from '../support/eventually.js';
import { SqsProxy, type SqsBody } from '../support/sqs-proxy.js';
import { eventMessage, thing } from '../support/things.js';
import { fault } from './fault.js';
import { RunningShop } from './running-shop.js';
import { inWorld, range, recorder, remember } from './in-world.js';

async function withProxy(work: (proxy: SqsProxy) => Promise<void>): Promise<void> {
  const proxy = await SqsProxy.start((await serverOf('sqs')).env['SQS_ENDPOINT'] as string);
  try {
    await work(proxy);
  } finally {
    await proxy.end();
  }
}

const entriesOf = ({ body }: { body: SqsBody }): SqsBody[] => body['Entries'] as SqsBody[];

fault('S1', 'a handler that takes longer than the visibility keeps its message, and handles it once', {}, () =>
  withProxy((proxy) =>
    inWorld('sqs', { SQS_ENDPOINT: proxy.url, SQS_VISIBILITY_TIMEOUT_SECONDS: '2' }, async (world) => {
      const seen = new Map<string, number[]>();
      let begun = 0;
      const instance = await world.start([
        recorder(seen, {
          handle: async ({ data }, { once }) => {
            begun++;
            await new Promise((resolve) => setTimeout(resolve, 5000));
            await once(async () => remember(seen, data));
          },
        }),
      ]);
      const key = randomUUID();
      await world.emit(instance, [thing(key, 0)]);
      await eventually(() => expect(seen.get(key)).toEqual([0]));
      await eventually(async () => expect((await instance.status.groups()).map(({ lag }) => lag)).toEqual([0]));
      expect(begun).toBe(1);
      expect(proxy.count('ChangeMessageVisibilityBatch') + proxy.count('ChangeMessageVisibility')).toBeGreaterThanOrEqual(2);
      expect(await world.count('inbox')).toBe(1);
    }),
  ),
);

fault('S5', 'of a batch that SQS takes in part, exactly the failed rows stay, and go when it takes them', { on: ['sqs'] }, () =>
  withProxy((proxy) =>
    inWorld('sqs', { SQS_ENDPOINT: proxy.url }, async (world) => {
      const seen = new Map<string, number[]>();
      const instance = await world.start([recorder(seen)]);
      const [later, good] = [randomUUID(), randomUUID()];
      let failed = 0;
      proxy.rule = (operation, body) => {
        if (operation !== 'SendMessageBatch') return undefined;
        const ids = entriesOf({ body })
          .filter(({ MessageGroupId: group }) => group === later)
          .map(({ Id: id }) => id);
        if (ids.length === 0) return undefined;
        failed += ids.length;
        const others = entriesOf({ body }).filter(({ Id: id }) => !ids.includes(id)); // SQS has not taken the failed ones
        return {
          status: 200,
          body: {
            Successful: others.map(({ Id: id }) => ({ Id: id, MessageId: randomUUID(), MD5OfMessageBody: '' })),
            Failed: ids.map((id) => ({ Id: id, SenderFault: false, Code: 'InternalError', Message: 'failed by the test' })),
          },
        };
      };
      await world.emit(instance, [thing(later, 0)]);
      await eventually(() => expect(failed).toBeGreaterThanOrEqual(2)); // it is tried again
      expect(await world.database.query('SELECT key FROM outbox')).toEqual([{ key: later }]);
      const { values } = await instance.app.get(Metrics).publishFailures.get();
      expect(values).toMatchObject([{ labels: { kind: 'transport' } }]);
      expect(await world.count('outbox_held_key')).toBe(0);
      proxy.rule = () => undefined;
      await world.emit(instance, [thing(later, 1), thing(good, 0)]);
      await eventually(() => expect([seen.get(later), seen.get(good)]).toEqual([[0, 1], [0]]));
      await eventually(async () => expect(await world.count('outbox')).toBe(0)); // an event may be here before its proof is
    }),
  ),
);

fault('S8', 'a second copy that SQS accepts is recognised by the inbox', {}, () =>
  withProxy((proxy) =>
    inWorld('sqs', { SQS_ENDPOINT: proxy.url }, async (world) => {
      const seen = new Map<string, number[]>();
      let begun = 0;
      const instance = await world.start([
        recorder(seen, {
          handle: async ({ data }, { once }) => {
            begun++;
            await once(async () => remember(seen, data));
          },
        }),
      ]);
      const key = randomUUID();
      await world.emit(instance, [thing(key, 0)]);
      await eventually(() => expect(seen.get(key)).toEqual([0]));
      const sent = proxy.seen.find(
        (request) => request.operation === 'SendMessageBatch' && entriesOf(request).some(({ MessageGroupId: group }) => group === key),
      );
      if (!sent) throw new Error('the event was not sent');
      // With another id for de-duplication it is to SQS what the same message is after its five minutes.
      const sqs = new SQS({ endpoint: proxy.url, region: 'us-east-1', useQueueUrlAsEndpoint: false });
      const Entries = entriesOf(sent).map((entry) => ({ ...entry, MessageDeduplicationId: randomUUID() }));
      const { Successful } = await sqs.sendMessageBatch({ QueueUrl: String(sent.body['QueueUrl']), Entries: Entries as never });
      sqs.destroy();
      expect(Successful).toHaveLength(Entries.length);
      const duplicates = async (): Promise<number | undefined> => (await instance.app.get(Metrics).inboxDuplicates.get()).values[0]?.value;
      await eventually(async () => expect(await duplicates()).toBe(1));
      expect(begun).toBe(1);
    }),
  ),
);

fault('S8', 'a relay that died after sending and goes on six minutes later', { long: true, timeoutMs: 600_000 }, async () => {
  await RunningShop.with('sqs', {}, async (shop) => {
    await shop.startAndDieAt('relay.afterPublish', 'kill');
    const [left] = await shop.database.query<{ count: number }>('SELECT count(*)::int FROM outbox');
    expect(left?.count).toBeGreaterThan(0);
    await new Promise((resolve) => setTimeout(resolve, 6 * 60_000)); // the window of de-duplication is over
    const healed = await shop.start();
    await shop.expectHealed(healed);
    expect(await shop.metric(healed, 'waybill_inbox_duplicates_total')).toBeGreaterThan(0);
  });
});

fault('S11', 'thirty headers travel in fewer attributes than SQS allows', {}, () =>
  withProxy((proxy) =>
    inWorld('sqs', { SQS_ENDPOINT: proxy.url }, async (world) => {
      const seen = new Map<string, number[]>();
      const instance = await world.start([recorder(seen)]);
      const message = eventMessage(randomUUID(), 3);
      const headers = { ...message.headers, ...Object.fromEntries(range(30).map((n) => [`x-header-${n}`, `value ${n}`])) };
      expect(await instance.adapter.publish([{ ...message, headers }])).toEqual([undefined]);
      await eventually(() => expect(seen.get(message.key)).toEqual([3]));
      const attributes = proxy.seen
        .filter(({ operation }) => operation === 'SendMessageBatch')
        .flatMap(entriesOf)
        .map((entry) => Object.keys((entry['MessageAttributes'] as object | undefined) ?? {}).length);
      expect(attributes.length).toBeGreaterThan(0);
      expect(Math.max(...attributes)).toBeLessThanOrEqual(10);
    }),
  ),
);
