-- How events stand with their groups, in the order of the questions: whether the group is done with the event, and
-- whether its key is held up. A function, because its plan is kept: planning took three quarters of the question. The
-- settings keep a plan that was made for empty tables from reading through them when they are full. Its semicolon is
-- an escape: the migration engine takes any other for the end of the statement.
CREATE FUNCTION "event_standing"(group_names text[], topics text[], keys text[], event_ids uuid[])
RETURNS TABLE (done boolean, held boolean)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
AS E'
BEGIN
  RETURN QUERY
  SELECT handled.one IS NOT NULL OR dead.one IS NOT NULL, parked.one IS NOT NULL
  FROM unnest(group_names, topics, keys, event_ids) WITH ORDINALITY AS q(group_name, topic, key, event_id, position)
  LEFT JOIN LATERAL (SELECT 1 AS one FROM "inbox" i WHERE i.group_name = q.group_name AND i.event_id = q.event_id LIMIT 1) AS handled ON true
  LEFT JOIN LATERAL (SELECT 1 AS one FROM "dead_letter" d WHERE d.group_name = q.group_name AND d.event_id = q.event_id LIMIT 1) AS dead ON true
  LEFT JOIN LATERAL (SELECT 1 AS one FROM "parked_key" p WHERE p.group_name = q.group_name AND p.topic = q.topic AND p.key = q.key LIMIT 1) AS parked ON true
  ORDER BY q.position\x3B
END
';
