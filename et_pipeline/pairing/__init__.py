"""Reports become matched pairs, pairs become cells: `build_pairs`, then `build_cells`.

Both are pure functions of the reports and plans in the warehouse, whatever the order in which the reports
came, and both touch only what the newest reports touch.
"""
