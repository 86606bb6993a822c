"""Benches: one file each, measured against a named rival in the same run, with the rows kept in results/*.csv."""
