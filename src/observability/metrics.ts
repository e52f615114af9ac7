import { Injectable } from '@nestjs/common';
import { Registry } from 'prom-client';
import { BoundedCounter, BoundedGauge, BoundedHistogram } from './bounded-labels.js';

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** What Prometheus sees of this process. Every label takes few values: topics, groups and routes, never a key, an id or a type from the wire. */
@Injectable()
export class Metrics {
  readonly registry = new Registry();

  readonly outboxBacklog = new BoundedGauge(this.named('outbox_backlog', 'Events that wait in the outbox'));
  readonly outboxOldestAge = new BoundedGauge(this.named('outbox_oldest_age_seconds', 'Age of the oldest event in the outbox'));
  readonly outboxBlockedKeys = new BoundedGauge(this.named('outbox_blocked_keys', 'Keys whose first event the broker refuses'));
  readonly publishDuration = new BoundedHistogram({
    ...this.named('publish_duration_seconds', "Time from a batch's publish to the broker's answer"),
    buckets: SECONDS,
  });
  readonly published = new BoundedCounter({ ...this.named('published_total', 'Events the broker has confirmed'), labelNames: ['topic'] });
  readonly publishFailures = new BoundedCounter({
    ...this.named(
      'publish_failures_total',
      'Publishes that failed: "transport" is the absence of the broker, "message" the fault of one event',
    ),
    labelNames: ['kind'],
  });
  readonly brokerUp = new BoundedGauge(this.named('broker_up', '1 while the broker answers'));

  readonly handleDuration = new BoundedHistogram({
    ...this.named('handle_duration_seconds', 'Time of one attempt to handle an event'),
    labelNames: ['group', 'topic', 'outcome'],
    buckets: SECONDS,
  });
  readonly commitToHandled = new BoundedHistogram({
    ...this.named('commit_to_handled_seconds', 'Time from the commit that emitted an event until it was handled'),
    buckets: SECONDS,
  });
  readonly attempts = new BoundedCounter({ ...this.named('attempts_total', 'Attempts to handle an event'), labelNames: ['group'] });
  readonly inboxDuplicates = new BoundedCounter({
    ...this.named('inbox_duplicates_total', 'Events recognised as handled before'),
    labelNames: ['group'],
  });
  readonly unhandled = new BoundedCounter({
    ...this.named('unhandled_total', 'Events of a type that nobody in the group handles'),
    labelNames: ['group'],
  });
  readonly parkedTotal = new BoundedCounter({ ...this.named('parked_total', 'Events that were parked'), labelNames: ['group'] });
  readonly parked = new BoundedGauge({
    ...this.named('parked', 'Events that wait for a retry or behind another'),
    labelNames: ['group', 'topic'],
  });
  readonly deadLettered = new BoundedCounter({
    ...this.named('dead_lettered_total', 'Events that became dead letters'),
    labelNames: ['group'],
  });
  readonly deadLetters = new BoundedGauge({ ...this.named('dead_letters', 'Open dead letters'), labelNames: ['group', 'topic'] });
  readonly groupLag = new BoundedGauge({
    ...this.named('group_lag', 'Events the broker holds for a group'),
    labelNames: ['group', 'topic'],
  });
  readonly consumerRebuilds = new BoundedCounter({
    ...this.named('consumer_rebuilds_total', 'Subscriptions that died and were made anew'),
    labelNames: ['group', 'topic'],
  });

  readonly databaseWaiting = new BoundedGauge({
    ...this.named('database_waiting', 'Requests, and handlers of events, that wait for a connection of the domain'),
    labelNames: ['claimant'],
  });

  readonly httpRequestDuration = new BoundedHistogram({
    ...this.named('http_request_duration_seconds', 'Time to answer a request'),
    labelNames: ['route', 'method', 'status'],
    buckets: SECONDS,
  });

  private named(name: string, help: string): { name: string; help: string; registers: Registry[] } {
    return { name: `waybill_${name}`, help, registers: [this.registry] };
  }
}
