-- name: close_blocks
-- A block is closed when both arms of its experiment have reported an opportunity from after it. It may be opened
-- again where the report that told so turns out to be none.
UPDATE {table} AS p
SET closed = a.reached
FROM (
    SELECT
        q.experiment_id, q.comparison, q.metric, q.as_of,
        coalesce(q.as_of <= a.control_until AND q.as_of <= a.variant_until, false) AS reached
    FROM {table} AS q
    INNER JOIN arm_progress AS a ON a.experiment_id = q.experiment_id
    WHERE q.{inside}
) AS a
WHERE
    p.experiment_id = a.experiment_id AND p.comparison = a.comparison AND p.metric = a.metric
    AND p.as_of = a.as_of AND p.closed <> a.reached
