import { describe, expect, it } from '@jest/globals';
import { MAX_LABEL_VALUES } from './bounded-labels.js';
import { Metrics } from './metrics.js';

describe('Metrics', () => {
  it('has a registry of its own, every name under waybill_', async () => {
    const [one, other] = [new Metrics(), new Metrics()];
    one.brokerUp.set(1);
    expect(await one.registry.getSingleMetricAsString('waybill_broker_up')).toContain('waybill_broker_up 1');
    expect(await other.registry.getSingleMetricAsString('waybill_broker_up')).toContain('waybill_broker_up 0');
    for (const { name } of await one.registry.getMetricsAsJSON()) expect(name).toMatch(/^waybill_[a-z_]+$/);
  });

  it('times with the labels of the start and of the end', async () => {
    const metrics = new Metrics();
    metrics.handleDuration.startTimer({ group: 'inventory', topic: 'commerce.order' })({ outcome: 'handled' });
    expect(await metrics.registry.metrics()).toContain(
      'waybill_handle_duration_seconds_count{group="inventory",topic="commerce.order",outcome="handled"} 1',
    );
  });

  it('counts what comes after too many label values as "other"', async () => {
    const metrics = new Metrics();
    for (let index = 0; index < 10_000; index++) {
      metrics.unhandled.inc({ group: `g${index}` });
      metrics.groupLag.set({ group: `g${index}`, topic: 't' }, index);
      metrics.handleDuration.observe({ group: `g${index}`, topic: 't', outcome: 'handled' }, 0.01);
    }
    metrics.unhandled.inc({ group: 'g0' });
    const text = await metrics.registry.metrics();
    expect(text.match(/^waybill_unhandled_total\{/gm)).toHaveLength(MAX_LABEL_VALUES + 1);
    expect(text.match(/^waybill_group_lag\{/gm)).toHaveLength(MAX_LABEL_VALUES + 1);
    expect(text.match(/^waybill_handle_duration_seconds_count\{/gm)).toHaveLength(MAX_LABEL_VALUES + 1);
    expect(text).toContain(`waybill_unhandled_total{group="other"} ${10_000 - MAX_LABEL_VALUES}`);
    expect(text).toContain('waybill_unhandled_total{group="g0"} 2');
  });

  it('counts and observes without labels', async () => {
    const metrics = new Metrics();
    metrics.commitToHandled.observe(0.25);
    metrics.outboxBacklog.set(3);
    const text = await metrics.registry.metrics();
    expect(text).toContain('waybill_commit_to_handled_seconds_sum 0.25');
    expect(text).toContain('waybill_outbox_backlog 3');
  });
});
