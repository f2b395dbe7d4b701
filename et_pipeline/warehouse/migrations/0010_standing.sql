-- The judgement that is stored beside a verdict. The next tick evaluates every experiment and fills it.
ALTER TABLE verdicts ADD COLUMN standing VARCHAR;
COMMENT ON COLUMN verdicts.standing IS 'How it stands, as JSON: the checklist (conditions), each metric at the decision or at the end of the newest closed block (standings: figures, share of missing values, words), and what a person does next. Pages and commands show this.';
