"""The pipeline's own DuckDB file: connection, migrations, query engine, audit log, backup and locks.

In: settings. Out: an open connection with the newest schema; only one process at a time has the file open for writing.
"""
