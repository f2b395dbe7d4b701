"""The pipeline's own DuckDB file: connection, migrations, query engine, audit log, backup and locks.

In: settings. Out: an open connection that one writer holds at a time, with the newest schema.
"""
