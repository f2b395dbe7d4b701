"""The stages on a cluster over Spark Connect; only `defs/` uses this folder, so it can be left out.

In: the stages' queries and snapshot tasks. Out: reports and pairs as Parquet below one address. The stages'
`.sql` files are written once, in DuckDB's dialect, and `dialect` translates them to Spark's.
"""
