import { freePort } from '../../scripts/lib/ports.mjs';
import { createTopic, messagesIn, TUTORIAL } from '../lib/baseline.js';
import { keysOf, perEvent, prepareEffects, until, type Bench, type Stage } from '../lib/bench.js';
import { THING_TOPIC } from '../lib/effect.js';
import { buildWatermill, fillWatermill, startWatermill, WATERMILL_BACKLOG } from '../lib/watermill.js';
import { fillBroker, KEYS, timed } from './consume.js';
import { post } from './write.js';

const NAME = 'Watermill 1.5 (Go)';
const GROUP = 'watermill';
const NOTHING_LEFT = `(${WATERMILL_BACKLOG}) = 0`;

/** What the workloads write, relay and consume ask, asked of Watermill, on Kafka. */
export async function watermill(bench: Bench): Promise<void> {
  if (!(await buildWatermill())) return bench.say(`${NAME} is left out: there is no Go on this machine`);
  await bench.stage('kafka', async (stage) => {
    const port = await freePort();
    const { pid } = await startWatermill(stage, 'http,forwarder', { ...(await topicOf(stage)), PORT: String(port) });
    await post(bench, stage, [{ subject: { pid }, port }], NAME, 'watermill_order', WATERMILL_BACKLOG);
  });
  await bench.stage('kafka', (stage) => drain(bench, stage));
  await bench.stage('kafka', async (stage) => {
    const keys = keysOf(KEYS);
    await prepareEffects(stage.database, [GROUP], keys);
    await fillBroker(bench, stage, [GROUP], keys);
    await timed(bench, stage, { group: GROUP, name: NAME }, () =>
      startWatermill(stage, 'consumer', { TOPIC: `${stage.namespace}.${THING_TOPIC}`, GROUP }),
    );
  });
}

/** It takes a backlog message by message, so a fifth of the events tells its rate. */
async function drain(bench: Bench, stage: Stage): Promise<void> {
  const [warmUp, events] = [Math.ceil(bench.warmUp / 5), Math.ceil(bench.events / 5)];
  const env = await topicOf(stage);
  await fillWatermill(stage, warmUp, env);
  const subject = await startWatermill(stage, 'forwarder', env);
  await until(stage.database, NOTHING_LEFT);
  await fillWatermill(stage, events, env);
  const cost = await stage.cost([subject], () => until(stage.database, NOTHING_LEFT));
  bench.check('what Watermill has published', await messagesIn(stage, env.TOPIC), warmUp + events);
  bench.add({
    workload: 'relay',
    name: NAME,
    broker: stage.broker,
    value: events / cost.seconds,
    unit: 'events/s',
    baseline: TUTORIAL,
    ...perEvent(cost, events),
  });
}

async function topicOf(stage: Stage): Promise<{ TOPIC: string }> {
  const TOPIC = `${stage.namespace}.watermill`;
  await createTopic(stage, TOPIC);
  return { TOPIC };
}
