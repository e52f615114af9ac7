import type { FreshDatabase } from './fresh-database.js';

/**
 * Makes the test's database keep what the application forgets: each event that was committed, in the order of the commits, and each
 * event that a group saw to its end, in that order. Triggers write it into tables of a schema that the application does not know.
 * `published` is written by the commit itself, while the transaction still holds the locks of its keys: its numbers are the order of
 * commits, whatever the outbox's ids are.
 */
export async function recordEvents(database: FreshDatabase): Promise<void> {
  await database.query(`
    CREATE SCHEMA observed;
    CREATE TABLE observed.published (
      n bigserial PRIMARY KEY, lane smallint NOT NULL, id bigint NOT NULL, event_id uuid NOT NULL, topic text NOT NULL, type text NOT NULL,
      key text NOT NULL, headers jsonb NOT NULL, payload bytea NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE TABLE observed.handled (
      n bigserial PRIMARY KEY, group_name text NOT NULL, event_id uuid NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE INDEX ON observed.published (event_id);
    CREATE INDEX ON observed.handled (event_id, group_name);

    CREATE FUNCTION observed.publish() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO observed.published (lane, id, event_id, topic, type, key, headers, payload)
      VALUES (NEW.lane, NEW.id, NEW.event_id, NEW.topic, NEW.type, NEW.key, NEW.headers::jsonb, convert_to(NEW.payload, 'UTF8'));
      RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER observed_publish AFTER INSERT ON outbox DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION observed.publish();

    CREATE FUNCTION observed.handle() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO observed.handled (group_name, event_id) VALUES (NEW.group_name, NEW.event_id);
      RETURN NULL;
    END $$;
    CREATE TRIGGER observed_handle AFTER INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION observed.handle();`);
}

/** Whether `recordEvents` was called on this database. */
export async function recordsEvents(database: FreshDatabase): Promise<boolean> {
  const [row] = await database.query<{ there: boolean }>(`SELECT to_regclass('observed.published') IS NOT NULL AS there`);
  return row?.there ?? false;
}
