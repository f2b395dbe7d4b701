"""Snapshot files become reports; every line that is no sound report goes to quarantine with its reason.

In: files of the report bus. Out: the tables `snapshots`, `reports`, `quarantine` and their books.
"""
