// @ts-check
import fs from 'node:fs/promises';
import { build } from '../build.mjs';
import { inRoot } from '../lib/root.mjs';
import { startServer } from '../servers/index.mjs';

/**
 * Writes the SQL that leads from the committed migrations to the models into a new migration, to be read before it is committed.
 * @param {string | undefined} name in words joined by underscores
 */
export async function writeMigration(name) {
  if (name === undefined || !/^[a-z][a-z0-9_]*$/.test(name))
    throw new Error('Name the migration: npm run migration -- add_delivery_address');
  await build();
  const server = await startServer('postgres');
  try {
    const { migrationSql } = await import(inRoot('dist', 'database', 'migrations.js'));
    const sql = await migrationSql(server.env['DATABASE_URL']);
    if (sql.trim() === '' || sql.includes('empty migration')) {
      process.stdout.write('The models and the migrations agree: there is nothing to write.\n');
      return;
    }
    const stamp = new Date().toISOString().replace(/\D/g, '').slice(0, 14);
    const folder = inRoot('prisma', 'migrations', `${stamp}_${name}`);
    await fs.mkdir(folder);
    await fs.writeFile(`${folder}/migration.sql`, sql);
    process.stdout.write(`Written: prisma/migrations/${stamp}_${name}/migration.sql. Read it before you commit it.\n`);
  } finally {
    await server.dispose();
  }
}
