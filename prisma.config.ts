import { defineConfig } from 'prisma/config';

/** For Prisma's own command line (`prisma generate`, `prisma migrate`); the app reads src/config. */
export default defineConfig({
  schema: 'prisma',
  migrations: { path: 'prisma/migrations' },
  datasource: { url: process.env['DATABASE_URL'] ?? '' },
});
