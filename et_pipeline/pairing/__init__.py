"""Reports become matched pairs, pairs become cells: `build_pairs`, then `build_cells`.

In: `reports` and registered experiments. Out: `pairs`, `unmatched` and `cells`. Both are pure functions of the
reports and plans, whatever the order in which the reports came, and touch only what the newest reports touch.
"""
