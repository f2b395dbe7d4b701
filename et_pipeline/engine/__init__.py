"""Where the relational work runs: in the warehouse itself (DuckDB), or on a cluster over Spark Connect.

The stages' `.sql` files are written once, in DuckDB's words; `dialect` puts them into Spark's.
"""
