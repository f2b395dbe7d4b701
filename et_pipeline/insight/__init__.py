"""Makes what people read: the analyst database, review pages and charts. It shows judgements and makes none.

In: the warehouse's tables. Out: `published/experiments.duckdb`, `published/pages/`, Parquet files.
"""
