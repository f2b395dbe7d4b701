"""Reads snapshot files into reports; every line that is not a valid report goes to quarantine with its reason.

In: files of the report bus. Out: the tables `snapshots`, `reports` and `quarantine`, and the counts of lines.
"""
