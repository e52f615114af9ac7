-- Questions whose plan must not depend on what the planner believes of the tables: these fill and empty within seconds,
-- and its statistics are always of another time. As functions they bring the settings of their plan along.
-- The semicolon of a body is an escape: the migration engine takes any other for the end of the statement, in
-- comments too.

-- How events stand with their groups, in the order of the questions: whether the group is done with the event, and
-- whether its key is held up. Each looks into an index: with EXISTS in the place of LIMIT 1 the planner may
-- read the whole inbox into a hash table. The plan is kept: making it took three quarters of the time.
CREATE FUNCTION "event_standing"(group_names text[], topics text[], keys text[], event_ids uuid[])
RETURNS TABLE (done boolean, held boolean)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
AS E'BEGIN RETURN QUERY
  SELECT (SELECT 1 FROM inbox i WHERE i.group_name = q.group_name AND i.event_id = q.event_id LIMIT 1) IS NOT NULL
      OR (SELECT 1 FROM dead_letter d WHERE d.group_name = q.group_name AND d.event_id = q.event_id LIMIT 1) IS NOT NULL AS done,
      (SELECT 1 FROM parked_key p WHERE p.group_name = q.group_name AND p.topic = q.topic AND p.key = q.key LIMIT 1) IS NOT NULL AS held
  FROM unnest(group_names, topics, keys, event_ids) WITH ORDINALITY AS q(group_name, topic, key, event_id, position) ORDER BY q.position
\x3B END';

-- The oldest rows of lanes of the outbox, of each lane as many, from where it begins, without those in hand and those
-- of held keys. In the order of the index, never by sorting what the lane holds.
CREATE FUNCTION "outbox_head"(lanes smallint[], begins bigint[], per_lane int, in_hand bigint[], held_keys text[])
RETURNS TABLE (lane smallint, id bigint, event_id uuid, topic text, type text, key text, headers text, payload text, created_at timestamptz)
LANGUAGE plpgsql STABLE ROWS 50
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET plan_cache_mode = force_custom_plan
AS E'BEGIN RETURN QUERY
  SELECT head.* FROM unnest(lanes, begins) AS wanted(lane, begin) CROSS JOIN LATERAL (
    SELECT o.lane, o.id, o.event_id, o.topic, o.type, o.key, o.headers, o.payload, o.created_at FROM outbox o
    WHERE o.lane = wanted.lane AND o.id >= wanted.begin AND o.id <> ALL(in_hand) AND (o.topic || \':\' || o.key) <> ALL(held_keys)
    ORDER BY o.lane, o.id LIMIT per_lane
  ) AS head
\x3B END';

-- The same for the postgres broker, which moves rows inside the database: where the rows of these topics are.
CREATE FUNCTION "outbox_head_of_topics"(lanes smallint[], begins bigint[], per_lane int, of_topics text[], held_keys text[])
RETURNS TABLE (lane smallint, id bigint)
LANGUAGE plpgsql STABLE ROWS 50
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET plan_cache_mode = force_custom_plan
AS E'BEGIN RETURN QUERY
  SELECT head.* FROM unnest(lanes, begins) AS wanted(lane, begin) CROSS JOIN LATERAL (
    SELECT o.lane, o.id FROM outbox o
    WHERE o.lane = wanted.lane AND o.id >= wanted.begin AND o.topic = ANY(of_topics) AND (o.topic || \':\' || o.key) <> ALL(held_keys)
    ORDER BY o.lane, o.id LIMIT per_lane
  ) AS head
\x3B END';

-- The oldest rows of a queue of the postgres broker.
CREATE FUNCTION "queue_head"(of_queue text, lanes smallint[], begins bigint[], per_lane int, in_hand bigint[])
RETURNS TABLE (lane smallint, id bigint, event_id uuid, type text, key text, headers text, payload bytea)
LANGUAGE plpgsql STABLE ROWS 50
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET plan_cache_mode = force_custom_plan
AS E'BEGIN RETURN QUERY
  SELECT head.* FROM unnest(lanes, begins) AS wanted(lane, begin) CROSS JOIN LATERAL (
    SELECT m.lane, m.id, m.event_id, m.type, m.key, m.headers, m.payload FROM queued_message m
    WHERE m.queue = of_queue AND m.lane = wanted.lane AND m.id >= wanted.begin AND m.id <> ALL(in_hand)
    ORDER BY m.queue, m.lane, m.id LIMIT per_lane
  ) AS head
\x3B END';
