import {
  Counter,
  Gauge,
  Histogram,
  type CounterConfiguration,
  type GaugeConfiguration,
  type HistogramConfiguration,
  type LabelValues,
} from 'prom-client';

/** More different values of one label than this are a mistake or an attack; from then on they are counted as `other`. */
export const MAX_LABEL_VALUES = 200;

type Labels<T extends string> = LabelValues<T> | number | undefined;

/** Remembers the values each label has had, and replaces every further one past the limit. */
class LabelLimit {
  private readonly seen = new Map<string, Set<string | number>>();

  of<T extends string>(labels: Labels<T>): Labels<T> {
    if (typeof labels !== 'object' || this.knowsAll(labels)) return labels;
    const pairs = Object.entries<string | number | undefined>(labels).map(([name, value]) => [
      name,
      this.known(name, value ?? '') ? value : 'other',
    ]);
    return Object.fromEntries(pairs) as LabelValues<T>;
  }

  /** Almost always, and then there is nothing to be made anew. */
  private knowsAll(labels: Readonly<Record<string, string | number | undefined>>): boolean {
    for (const name in labels) if (!this.seen.get(name)?.has(labels[name] ?? '')) return false;
    return true;
  }

  private known(name: string, value: string | number): boolean {
    const values = this.seen.get(name) ?? new Set();
    this.seen.set(name, values);
    if (!values.has(value) && values.size >= MAX_LABEL_VALUES) return false;
    values.add(value);
    return true;
  }
}

/** A counter whose series cannot grow without end. */
export class BoundedCounter<T extends string = never> extends Counter<T> {
  constructor(configuration: CounterConfiguration<T>) {
    super(configuration);
    const limit = new LabelLimit();
    const inc = this.inc.bind(this) as (labels: Labels<T>, value?: number) => void;
    this.inc = (labels?: unknown, value?: number): void => inc(limit.of(labels as Labels<T>), value);
  }
}

/** A gauge whose series cannot grow without end. */
export class BoundedGauge<T extends string = never> extends Gauge<T> {
  constructor(configuration: GaugeConfiguration<T>) {
    super(configuration);
    const limit = new LabelLimit();
    const set = this.set.bind(this) as (labels: Labels<T>, value?: number) => void;
    this.set = (labels?: unknown, value?: number): void => set(limit.of(labels as Labels<T>), value);
  }
}

/** A histogram whose series cannot grow without end. */
export class BoundedHistogram<T extends string = never> extends Histogram<T> {
  constructor(configuration: HistogramConfiguration<T>) {
    super(configuration);
    const limit = new LabelLimit();
    const observe = this.observe.bind(this) as (labels: Labels<T>, value?: number) => void;
    this.observe = (labels?: unknown, value?: number): void => observe(limit.of(labels as Labels<T>), value);
  }
}
