-- Variances of experiments that compare all trades, for sizing plans; they are computed again for these experiments.
INSERT INTO stale_paths
SELECT DISTINCT experiment_id, block FROM series_cells
WHERE experiment_id IN (SELECT experiment_id FROM experiments WHERE matching = 'arms');

COMMENT ON COLUMN series_diagnostics.median_uplift IS 'Median uplift of single pairs; null for ratio metrics, and where all trades are compared, since no trade has an uplift of its own.';
COMMENT ON COLUMN series_diagnostics.sd_uplift IS 'Standard deviation of single pairs'' uplift; where all trades are compared, what a pair would have if the trades of the smaller arm were pairs.';
COMMENT ON COLUMN series_diagnostics.share_won IS 'Share of pairs whose uplift is above zero; null where all trades are compared, since no trade has an uplift of its own.';
COMMENT ON COLUMN series_diagnostics.market_correlation IS 'Share of the variance that the pairs of one market have in common; where all trades are compared, the share that comes from an uplift that differs between markets.';
COMMENT ON COLUMN series_diagnostics.block_correlation IS 'Share of the variance that the pairs of one block have in common; where all trades are compared, the share that comes from an uplift that differs between blocks.';
