"""Versions of data and how rows of them are read: tables, days, schema, Parquet, artefacts, sources."""
