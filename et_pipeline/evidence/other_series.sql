-- name: other_series
-- The series of some experiments, besides those of the uplift, that have cells or had some.
SELECT experiment_id, comparison, metric FROM series_cells WHERE comparison <> '{uplift}' AND {inside}
UNION
SELECT experiment_id, comparison, metric FROM series_intervals WHERE comparison <> '{uplift}' AND {inside}
