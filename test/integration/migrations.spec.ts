import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { migrate, migrationSql } from '../../src/database/migrations.js';
import { stopServers } from '../support/brokers-under-test.js';
import { freshDatabase, type FreshDatabase } from '../support/fresh-database.js';

describe('the migrations', () => {
  let database: FreshDatabase;
  beforeEach(async () => {
    database = await freshDatabase();
  });
  afterEach(() => database.drop());
  afterAll(() => stopServers());

  it('lead to the models: npm run migration has nothing to write', async () => {
    await empty();
    expect(await migrationSql(database.url)).toMatch(/^(-- This is an empty migration\.)?\s*$/);
  });

  it('are applied once, by whichever of several instances comes first', async () => {
    await empty();
    const applied = await Promise.all([migrate(database.url), migrate(database.url), migrate(database.url)]);
    expect(applied.filter((names) => names.length > 0)).toHaveLength(1);
    const rows = await database.query<{ migration_name: string }>('SELECT migration_name FROM _prisma_migrations ORDER BY migration_name');
    expect(rows.map(({ migration_name }) => migration_name)).toEqual(applied.flat());
    expect(await migrate(database.url)).toEqual([]);
  });

  async function empty(): Promise<void> {
    await database.query('DROP SCHEMA public CASCADE; CREATE SCHEMA public');
  }
});
