-- Of two reports within one microsecond the later one counts, by the digits that emitted_at cannot store.
ALTER TABLE reports ADD COLUMN emitted_below_us INTEGER DEFAULT 0;
ALTER TABLE early_reports ADD COLUMN emitted_below_us INTEGER DEFAULT 0;

-- Before this migration these digits were cut off. If the wrong report may have counted because of this, its snapshot is
-- read once more: its lines are duplicates that have the digits.
UPDATE snapshots
SET mtime_ns = -1, content_hash = ''
WHERE path IN (
    SELECT path FROM snapshots
    WHERE snapshot_id IN (
        SELECT snapshot_id FROM reports
        WHERE (opportunity_key, strategy_id, mode, emitted_at) IN (
            SELECT (opportunity_key, strategy_id, mode, emitted_at)
            FROM reports
            WHERE opportunity_key IN (SELECT opportunity_key FROM unmatched WHERE reason = 'superseded')
            GROUP BY opportunity_key, strategy_id, mode, emitted_at
            HAVING count(*) > 1
        )
    )
);

COMMENT ON COLUMN reports.emitted_below_us IS 'What emitted_at leaves out, in picoseconds (0 to 999,999): of an arm''s reports for one opportunity within one microsecond the later one counts.';
COMMENT ON COLUMN early_reports.emitted_below_us IS 'What emitted_at leaves out, in picoseconds (0 to 999,999): of an arm''s reports for one opportunity within one microsecond the later one counts.';
