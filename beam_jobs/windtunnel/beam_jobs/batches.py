"""Rows as Arrow record batches: how every job reads them.

Elements are **references to row groups** until the very step that reads them: references are shuffled, batches never are. A step that
makes batches must be annotated with ``Iterable[pa.RecordBatch]`` so that Beam uses `RecordBatchCoder`, which knows a batch's size
without writing it out.
"""

import pyarrow as pa
import pyarrow.ipc
from apache_beam import coders

from windtunnel.lifecycle.data.parquet import BATCH_ROWS, RowGroup, expand, open_parquet, read_row_group, row_groups

__all__ = ["BATCH_ROWS", "RecordBatchCoder", "RowGroup", "expand", "open_parquet", "read_row_group", "row_groups"]


class RecordBatchCoder(coders.Coder):
    """Record batches as Arrow IPC; their size is read off, not measured by encoding."""

    def encode(self, value: pa.RecordBatch) -> bytes:
        """IPC stream bytes."""
        sink = pa.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, value.schema) as writer:
            writer.write_batch(value)
        return bytes(sink.getvalue())

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        """The batch again."""
        with pyarrow.ipc.open_stream(encoded) as reader:
            return reader.read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        """Bytes of its buffers."""
        return int(value.nbytes)

    def is_deterministic(self) -> bool:
        """The same batch gives the same bytes."""
        return True

    def to_type_hint(self) -> type:
        """What it is registered for."""
        return pa.RecordBatch


coders.registry.register_coder(pa.RecordBatch, RecordBatchCoder)
