"""What stays of a sweep: its folder on any fsspec path, tables in Parquet parts, the schema of rows, a journal."""

from sweeps.store.store import Store

__all__ = ["Store"]
