import type { SendMessageBatchRequest, SendMessageBatchResult } from '@aws-sdk/client-sqs';
import { describe, expect, it } from '@jest/globals';
import type { Logger } from '../../../observability/logger.js';
import { BrokerUnavailableError, MessageRejectedError } from '../broker-adapter.js';
import { pack } from './sqs.message.js';
import type { SqsConnection } from './sqs.connection.js';
import { QueueSender, type Entry } from './sqs.queue-sender.js';
import type { SqsQueue } from './sqs.topology.js';

type Answer = (request: SendMessageBatchRequest) => SendMessageBatchResult;

/** SQS's answers as the test wants them, and what it was asked. */
function sender(answer: Answer): { sender: QueueSender; asked: string[][] } {
  const asked: string[][] = [];
  const connection = {
    publishing: {
      sendMessageBatch: (request: SendMessageBatchRequest) => {
        asked.push((request.Entries ?? []).map(({ MessageDeduplicationId: id }) => id ?? ''));
        return Promise.resolve(answer(request));
      },
    },
  } as unknown as SqsConnection;
  const queue = { name: 'queue', url: 'http://127.0.0.1/queue', maxMessageBytes: 262_144 } as SqsQueue;
  const logger = { error: () => undefined } as unknown as Logger;
  return { sender: new QueueSender(queue, connection, logger), asked };
}

function entry(index: number, group = `group ${index}`): Entry {
  const eventId = `event-${index}`;
  const message = { eventId, topic: 'topic', type: 'type', key: group, headers: {}, payload: Buffer.from('{}') };
  return { index, eventId, messageGroupId: group, deduplicationId: eventId, size: 2, packed: pack(message) };
}

/** Takes every entry but those; these fail as told. */
function failing(...ids: string[]): Answer {
  return ({ Entries: entries = [] }) => ({
    Successful: entries
      .filter(({ MessageDeduplicationId: id }) => !ids.includes(id ?? ''))
      .map(({ Id }) => ({ Id, MessageId: 'm', MD5OfMessageBody: '' })),
    Failed: entries
      .filter(({ MessageDeduplicationId: id }) => ids.includes(id ?? ''))
      .map(({ Id }) => ({ Id, SenderFault: false, Code: 'InternalError' })),
  });
}

describe('sending a batch to SQS', () => {
  it('proves what was taken', async () => {
    const { sender: queue } = sender(failing());
    expect(await queue.send([entry(0), entry(1)])).toEqual(new Map());
  });

  it('answers failed entries, and only those: each stays in the outbox', async () => {
    const { sender: queue } = sender(failing('event-1', 'event-3'));
    const failures = await queue.send([0, 1, 2, 3, 4].map((index) => entry(index)));
    expect(new Set(failures.keys())).toEqual(new Set([1, 3]));
    for (const error of failures.values()) expect(error).toBeInstanceOf(BrokerUnavailableError);
  });

  it('tells an entry that is itself at fault from one that met an outage', async () => {
    const { sender: queue } = sender(({ Entries: entries = [] }) => ({
      Successful: [],
      Failed: entries.map(({ Id }, index) => ({
        Id,
        SenderFault: true,
        Code: index === 0 ? 'InvalidMessageContents' : 'RequestThrottled',
      })),
    }));
    const failures = await queue.send([entry(0), entry(1)]);
    expect(failures.get(0)).toBeInstanceOf(MessageRejectedError);
    expect(failures.get(1)).toBeInstanceOf(BrokerUnavailableError);
  });

  it('does not take for sent what SQS says nothing of', async () => {
    const { sender: queue } = sender(({ Entries: entries = [] }) => ({
      Successful: entries.slice(0, 1).map(({ Id }) => ({ Id, MessageId: 'm', MD5OfMessageBody: '' })),
      Failed: [],
    }));
    expect([...(await queue.send([entry(0), entry(1)])).keys()]).toEqual([1]);
  });

  it('sends one of a group at a time, in order, and nothing behind one that failed', async () => {
    const taken = sender(failing());
    expect(await taken.sender.send([entry(0, 'a'), entry(1, 'a'), entry(2, 'b'), entry(3, 'a')])).toEqual(new Map());
    expect(taken.asked).toEqual([['event-0', 'event-2'], ['event-1'], ['event-3']]);

    const failed = sender(failing('event-1'));
    const failures = await failed.sender.send([entry(0, 'a'), entry(1, 'a'), entry(2, 'a')]);
    expect(new Set(failures.keys())).toEqual(new Set([1, 2]));
    expect(failed.asked.flat()).not.toContain('event-2');
  });
});
