import { describe, expect, it } from '@jest/globals';
import type { Options } from 'amqplib';
import { EventEmitter } from 'node:events';
import { BrokerUnavailableError, MessageRejectedError, type OutgoingMessage } from '../broker-adapter.js';
import type { RabbitmqConnection } from './rabbitmq.connection.js';
import { RabbitmqNames } from './rabbitmq.names.js';
import { RabbitmqPublisher } from './rabbitmq.publisher.js';

interface Sent {
  readonly exchange: string;
  readonly routingKey: string;
  readonly properties: Options.Publish;
  readonly confirm: (error?: Error) => void;
}

/** A confirm channel that confirms what the test says, when it says so. */
class FakeChannel extends EventEmitter {
  readonly sent: Sent[] = [];
  full = false;

  publish(
    exchange: string,
    routingKey: string,
    _content: Buffer,
    properties: Options.Publish,
    done: (error: Error | null) => void,
  ): boolean {
    this.sent.push({ exchange, routingKey, properties, confirm: (error) => done(error ?? null) });
    return !this.full;
  }

  get ids(): (string | undefined)[] {
    return this.sent.map(({ properties }) => properties.messageId);
  }

  return(index: number): void {
    const { exchange, routingKey, properties } = this.sent[index] as Sent;
    this.emit('return', { fields: { exchange, routingKey, replyText: 'NO_ROUTE' }, properties });
  }

  confirm(index: number, error?: Error): void {
    (this.sent[index] as Sent).confirm(error);
  }
}

function message(eventId: string, key: string): OutgoingMessage {
  return { eventId, topic: 'a.topic', type: 'a.topic.happened', key, headers: {}, payload: Buffer.from('{}') };
}

async function publish(messages: readonly OutgoingMessage[]) {
  const channel = new FakeChannel();
  const connection = { confirmChannel: () => Promise.resolve(channel), drop: () => undefined } as unknown as RabbitmqConnection;
  const publisher = new RabbitmqPublisher({ connection, names: new RabbitmqNames('test', 4), confirmTimeoutMs: 60_000 });
  const topics = new Set(['a.topic']);
  let outcomes: readonly (Error | undefined)[] | undefined;
  const done = publisher.publish(messages, { topics, withReaders: topics }).then((answer) => (outcomes = answer));
  await turn();
  return { channel, done, outcomes: () => outcomes };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('publishing a batch to RabbitMQ', () => {
  it('is not done before every message is confirmed, and asks for persistence and for returns', async () => {
    const { channel, done, outcomes } = await publish([message('one', 'a'), message('two', 'b')]);
    expect(new Set(channel.ids)).toEqual(new Set(['one', 'two']));
    for (const { properties } of channel.sent) expect(properties).toMatchObject({ persistent: true, mandatory: true });
    channel.confirm(0);
    await turn();
    expect(outcomes()).toBeUndefined();
    channel.confirm(1);
    expect(await done).toEqual([undefined, undefined]);
  });

  it('sends the next message of a key only after the one before it was confirmed', async () => {
    const { channel, done } = await publish([message('one', 'a'), message('two', 'a'), message('three', 'a')]);
    expect(channel.ids).toEqual(['one']);
    channel.confirm(0);
    expect(channel.ids).toEqual(['one', 'two']);
    channel.confirm(1);
    channel.confirm(2);
    expect(await done).toEqual([undefined, undefined, undefined]);
  });

  it('does not take a returned message for published, although it is confirmed, nor sends what comes behind it', async () => {
    const { channel, done } = await publish([message('one', 'a'), message('two', 'a')]);
    channel.return(0);
    channel.confirm(0);
    expect(channel.ids).toEqual(['one']);
    const [first, second] = await done;
    expect(first).toBeInstanceOf(MessageRejectedError);
    expect(second).toBeInstanceOf(MessageRejectedError);
  });

  it('takes a refused confirm for an outage, and sends nothing behind it', async () => {
    const { channel, done } = await publish([message('one', 'a'), message('two', 'a')]);
    channel.confirm(0, new Error('message nacked'));
    expect(channel.ids).toEqual(['one']);
    const [first, second] = await done;
    expect(first).toBeInstanceOf(BrokerUnavailableError);
    expect(second).toBeInstanceOf(BrokerUnavailableError);
  });

  it('answers for what was unconfirmed when the channel closes', async () => {
    const { channel, done } = await publish([message('one', 'a'), message('two', 'b'), message('three', 'b')]);
    const first = channel.ids.indexOf('one');
    channel.confirm(first);
    channel.emit('close');
    const [one, two, three] = await done;
    expect(one).toBeUndefined();
    expect(two).toBeInstanceOf(BrokerUnavailableError);
    expect(three).toBeInstanceOf(BrokerUnavailableError);
  });

  it('waits while the buffer is full, and does not send a buffered message again', async () => {
    const channelOf = await publish([]);
    await channelOf.done;
    const channel = new FakeChannel();
    channel.full = true;
    const connection = { confirmChannel: () => Promise.resolve(channel), drop: () => undefined } as unknown as RabbitmqConnection;
    const publisher = new RabbitmqPublisher({ connection, names: new RabbitmqNames('test', 4), confirmTimeoutMs: 60_000 });
    const topics = new Set(['a.topic']);
    const done = publisher.publish([message('one', 'a'), message('two', 'b')], { topics, withReaders: topics });
    await turn();
    expect(channel.sent).toHaveLength(1);
    channel.full = false;
    channel.emit('drain');
    expect(new Set(channel.ids)).toEqual(new Set(['one', 'two']));
    channel.confirm(0);
    channel.confirm(1);
    expect(await done).toEqual([undefined, undefined]);
  });
});
