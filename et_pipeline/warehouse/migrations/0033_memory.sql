-- Autocorrelation of blocks is continued beyond the lags at which it is above the noise, so every path is computed again.
INSERT INTO stale_paths SELECT DISTINCT experiment_id, block FROM series_cells;
