import type { Bench, Figure } from '../lib/bench.js';
import { consume } from './consume.js';
import { latency } from './latency.js';
import { relay } from './relay.js';
import { watermill } from './watermill.js';
import { postBaseline, postOrders } from './write.js';

/**
 * The shapes that other systems were measured in: Kafka with 8 partitions, 64 connections, 500 keys, 20/s and 200/s;
 * with Watermill beside it, the fastest of them at most of these.
 */
export async function beside(bench: Bench): Promise<void> {
  const kafka = bench.on(['kafka']);
  const first = kafka.figures.length;
  try {
    await postOrders(kafka, 'kafka');
    await kafka.stage('kafka', (stage) => postBaseline(kafka, stage));
    await relay(kafka);
    await consume(kafka);
    await watermill(kafka);
    await latency(kafka);
  } finally {
    kafka.figures.push(...kafka.figures.splice(first).map(asBeside));
  }
}

/** In a table of its own, where the names of the workloads are part of the names. */
function asBeside(figure: Figure): Figure {
  const named = (name: string): string => `${figure.workload}: ${name}`;
  return {
    ...figure,
    workload: 'beside',
    name: named(figure.name),
    ...(figure.baseline !== undefined && { baseline: named(figure.baseline) }),
    ...(figure.limit !== undefined && { limit: named(figure.limit) }),
  };
}
