import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { lastValueFrom, of, throwError, type Observable } from 'rxjs';
import { NonRetryableError, OutboxClient, type WaybillContext } from '../../src/messaging/index.js';
import { brokersUnderTest, stopServers } from '../support/brokers-under-test.js';
import { eventually } from '../support/eventually.js';
import { thing, THING, ThingHappened } from '../support/things.js';
import { World } from '../support/world.js';

interface Seen {
  readonly by: string;
  readonly n: number;
  readonly attempt: number;
}

let seen: Seen[] = [];

@Controller()
class ThingController {
  @EventPattern<string>(THING.type, { group: 'audit' })
  async onThing(@Payload() data: ThingHappened, @Ctx() context: WaybillContext): Promise<void> {
    const { attempt, once } = context.getConsumeContext();
    seen.push({ by: 'audit', n: data.n, attempt });
    expect(data).toBeInstanceOf(ThingHappened);
    expect(context.getEvent()).toMatchObject({ type: THING.type, partitionkey: data.thingId });
    if (data.text === 'fails once' && attempt === 1) throw new Error('not yet');
    if (data.text === 'hopeless') throw new NonRetryableError('never');
    await once((tx) => tx.$executeRaw`INSERT INTO effect VALUES (${data.n}, 'audit')`);
  }

  @EventPattern<string>(THING.type, { group: 'report' })
  onThingToo(@Payload() data: ThingHappened, @Ctx() context: WaybillContext): Observable<string> {
    const { attempt } = context.getConsumeContext();
    seen.push({ by: 'report', n: data.n, attempt });
    return data.text === 'fails once' && attempt === 1 ? throwError(() => new Error('not yet')) : of('an answer that nobody waits for');
  }
}

describe.each(brokersUnderTest())("Nest's own handlers, with %s", (broker) => {
  let world: World;
  beforeEach(async () => {
    seen = [];
    world = await World.create(broker);
    await world.database.query('CREATE TABLE effect (n int, by text)');
  });
  afterEach(() => world.destroy());
  afterAll(() => stopServers());

  it('an @EventPattern handler is retried, keeps the order of its key, and has its effect once; each group on its own', async () => {
    const instance = await world.start([], { controllers: [ThingController] });
    const key = randomUUID();
    await world.emit(instance, [thing(key, 1), thing(key, 2, 'fails once'), thing(key, 3)]);
    for (const by of ['audit', 'report']) {
      await eventually(() =>
        expect(seen.filter((entry) => entry.by === by)).toEqual([
          { by, n: 1, attempt: 1 },
          { by, n: 2, attempt: 1 },
          { by, n: 2, attempt: 2 },
          { by, n: 3, attempt: 1 },
        ]),
      );
    }
    await eventually(async () => expect(await world.count('inbox')).toBe(6));
    expect(await world.database.query('SELECT n FROM effect ORDER BY n')).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
  });

  it('a NonRetryableError makes a dead letter at the first attempt, of that group alone', async () => {
    const instance = await world.start([], { controllers: [ThingController] });
    await world.emit(instance, [thing(randomUUID(), 1, 'hopeless')]);
    await eventually(async () => expect(await world.deadLetters()).toMatchObject([{ group: 'audit', attempts: 1 }]));
    await eventually(() => expect(seen).toContainEqual({ by: 'report', n: 1, attempt: 1 }));
    expect(await world.count('effect')).toBe(0);
  });

  it("an OutboxClient's emit goes and stays with the transaction that it is called in", async () => {
    const instance = await world.start([], { controllers: [ThingController] });
    const client = instance.app.get(OutboxClient);
    const key = randomUUID();
    const emit = (n: number): Promise<void> =>
      lastValueFrom(client.emit<void>(THING.type, { thingId: key, n }), { defaultValue: undefined });
    const undone = instance.database.transaction(async () => {
      await emit(1);
      throw new Error('the business says no');
    });
    await expect(undone).rejects.toThrow('the business says no');
    await instance.database.transaction(() => emit(2));
    await emit(3);
    await expect(emit(0.5)).rejects.toThrow(/n must be an integer/);
    await expect(lastValueFrom(client.emit('no.such.type', {}))).rejects.toThrow(/no class has @DefineEvent/);
    await expect(lastValueFrom(client.send(THING.type, {}))).rejects.toThrow(/events have no answer/);
    await eventually(() => expect(seen.filter(({ by }) => by === 'audit').map(({ n }) => n)).toEqual([2, 3]));
  });
});

describe('a handler that cannot be served stops the start, by name', () => {
  let world: World;
  beforeEach(async () => {
    world = await World.create('postgres');
  });
  afterEach(() => world.destroy());
  afterAll(() => stopServers());

  @Controller()
  class Asking {
    @MessagePattern<string>(THING.type)
    answer(): void {}
  }
  @Controller()
  class Groupless {
    @EventPattern<string>(THING.type)
    take(): void {}
  }
  @Controller()
  class Unknown {
    @EventPattern<string>('no.such.type', { group: 'audit' })
    take(): void {}
  }
  @Controller()
  class Twin {
    @EventPattern<string>(THING.type, { group: 'audit' })
    take(): void {}
  }

  it.each([
    ['@MessagePattern', [Asking], /@MessagePattern\('conformance.thing.happened'\) asks for an answer/],
    ['no group', [Groupless], /needs its consumer group/],
    ['an unknown type', [Unknown], /no class has @DefineEvent with this type/],
    ['two of one type in a group', [ThingController, Twin], /both take conformance.thing.happened in group audit/],
  ])('%s', async (_what, controllers, message) => {
    await expect(world.start([], { controllers })).rejects.toThrow(message);
  });
});
