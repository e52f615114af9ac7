import { describe, expect, it } from '@jest/globals';
import { TopologyMismatchError } from '../broker-adapter.js';
import { KafkaNames } from './kafka.names.js';
describe('KafkaNames', () => {
  const names = new KafkaNames('acme');
  it('puts the namespace before topics and groups', () => {
    expect(names.topic('commerce.order')).toBe('acme.commerce.order');
    expect(
      names.group({
        group: 'inventory',
        topic: 'commerce.order',
      }),
    ).toBe('acme.inventory.commerce.order');
  });
  it('takes one subscription twice, and refuses two that would be one', () => {
    const twice = {
      group: 'a',
      topic: 'b',
    };
    expect(() =>
      names.assertUsable({
        topics: ['b'],
        deadLetterTopics: [],
        subscriptions: [
          twice,
          {
            ...twice,
          },
        ],
      }),
    ).not.toThrow();
    const clash = [
      {
        group: 'a.b',
        topic: 'c',
      },
      {
        group: 'a',
        topic: 'b.c',
      },
    ];
    expect(() =>
      names.assertUsable({
        topics: [],
        deadLetterTopics: [],
        subscriptions: clash,
      }),
    ).toThrow(TopologyMismatchError);
  });
  it('refuses what Kafka cannot have as a name', () => {
    for (const topic of ['no name', 'ü', 'x'.repeat(250)]) {
      expect(() =>
        names.assertUsable({
          topics: [topic],
          deadLetterTopics: [],
          subscriptions: [],
        }),
      ).toThrow(TopologyMismatchError);
      expect(() =>
        names.assertUsable({
          topics: [],
          deadLetterTopics: [topic],
          subscriptions: [],
        }),
      ).toThrow(TopologyMismatchError);
    }
  });
});

//# sourceMappingURL=kafka.names.spec.js.map
