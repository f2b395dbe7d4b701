"""The stages on a cluster over Spark Connect; only `defs/` knows this folder, so it can be left out.

In: the stages' queries and snapshot tasks. Out: reports and pairs as Parquet below one address; the stages'
`.sql` files are written once, in DuckDB's words, and `dialect` puts them into Spark's.
"""
