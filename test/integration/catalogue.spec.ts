import { Catalogue } from '../../src/modules/order/catalogue.js';
import type { Database } from '../../src/database/database.js';
import { stopServers } from '../support/brokers-under-test.js';
import { gate } from '../support/eventually.js';
import { Shop } from '../support/shop.js';

let shop: Shop;

beforeAll(async () => {
  shop = await Shop.open();
  await shop.stock('coffee', 1);
  await shop.stock('tea', 1, { amount: 900, currency: 'USD' });
});

afterAll(async () => {
  await shop.close();
  await stopServers();
});

/** A catalogue on the real database whose readings are counted, and answer when the test lets them. */
function watched(hold: (reading: number) => Promise<void> = () => Promise.resolve()) {
  const readings: unknown[][] = [];
  const $queryRaw = async (text: TemplateStringsArray, skus: unknown[]): Promise<unknown> => {
    const reading = readings.push(skus);
    const rows: unknown = await shop.database.prisma.$queryRaw(text, skus);
    await hold(reading);
    return rows;
  };
  return { catalogue: new Catalogue({ prisma: { $queryRaw } } as unknown as Database), readings };
}

describe('the catalogue', () => {
  it('reads the prices for many who ask at the same time with one statement', async () => {
    const { catalogue, readings } = watched();
    const answers = await Promise.all(
      [...Array.from({ length: 20 }, () => ['coffee']), ['tea'], ['coffee', 'tea'], ['nothing']].map((skus) => catalogue.pricesOf(skus)),
    );
    expect(readings).toEqual([['coffee', 'tea', 'nothing']]);
    for (const prices of answers) {
      expect(prices.get('coffee')).toEqual({ price: 1290n, currency: 'EUR' });
      expect(prices.get('tea')).toEqual({ price: 900n, currency: 'USD' });
      expect(prices.has('nothing')).toBe(false);
    }
  });

  it('answers nobody with a reading that began before he asked', async () => {
    const firstHasRead = gate();
    const firstMayAnswer = gate();
    const { catalogue, readings } = watched(async (reading) => {
      if (reading > 1) return;
      firstHasRead.open();
      await firstMayAnswer.opened;
    });
    await shop.stock('cake', 1, { amount: 100, currency: 'EUR' });
    const early = catalogue.pricesOf(['cake']);
    await firstHasRead.opened;
    await shop.stock('cake', 1, { amount: 250, currency: 'EUR' });
    const late = [catalogue.pricesOf(['cake']), catalogue.pricesOf(['tea', 'cake'])];
    firstMayAnswer.open();
    expect((await early).get('cake')?.price).toBe(100n);
    for (const prices of await Promise.all(late)) expect(prices.get('cake')?.price).toBe(250n);
    expect(readings).toEqual([['cake'], ['cake', 'tea']]);
  });

  it('tells everybody who asked of a failure, and reads again for the next', async () => {
    const { catalogue, readings } = watched((reading) =>
      reading === 1 ? Promise.reject(new Error('the line is dead')) : Promise.resolve(),
    );
    const outcomes = await Promise.allSettled([catalogue.pricesOf(['tea']), catalogue.pricesOf(['coffee'])]);
    const told = { status: 'rejected', reason: new Error('the line is dead') };
    expect(outcomes).toEqual([told, told]);
    expect((await catalogue.pricesOf(['tea'])).get('tea')?.price).toBe(900n);
    expect(readings).toHaveLength(2);
  });
});
