"""Makes matched pairs from reports (`build_pairs`), and cells from pairs (`build_cells`).

In: `reports` and registered experiments. Out: `pairs`, `unmatched` and `cells`. The results depend only on the reports
and plans, not on the order in which the reports came. Each run computes only what the new reports can change.
"""
