-- The memory of blocks is followed beyond the lags at which it can be told from noise: every path is computed anew.
INSERT INTO stale_paths SELECT DISTINCT experiment_id, block FROM series_cells;
