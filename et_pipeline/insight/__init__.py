"""What people read: the analyst database, review pages and charts. It draws and never judges.

In: the warehouse's tables. Out: `published/experiments.duckdb`, `published/pages/`, Parquet files.
"""
