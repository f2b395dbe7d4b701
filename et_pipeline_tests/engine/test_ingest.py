"""Ingest on a cluster: the same accounting, quarantine, duplicates and conflicts as in the warehouse."""
