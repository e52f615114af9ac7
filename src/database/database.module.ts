import { Global, Module, type DynamicModule } from '@nestjs/common';
import { Database, DATABASE_URL } from './database.js';
import { DatabasePool } from './database-pool.js';
import { Notifications } from './notifications.js';

@Global()
@Module({})
export class DatabaseModule {
  /** @param url of a database that has been migrated */
  static forUrl(url: string): DynamicModule {
    return {
      module: DatabaseModule,
      providers: [{ provide: DATABASE_URL, useValue: url }, Database, DatabasePool, Notifications],
      exports: [DATABASE_URL, Database, DatabasePool, Notifications],
    };
  }
}
