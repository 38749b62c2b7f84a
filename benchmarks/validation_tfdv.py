"""TensorFlow Data Validation over the same table: statistics, a schema inferred from them, and the check of the statistics by it.

It needs an environment of its own (see validation.md), with no package of this project:

    python -m venv tfdv && tfdv/bin/pip install tensorflow-data-validation==1.16.1 dill
    tfdv/bin/python benchmarks/validation_tfdv.py benchmarks/data/flights_x10.parquet
"""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def batches(path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    for batch in file.iter_batches(batch_size=1 << 17):
        arrays = []
        for column in batch.columns:  # it wants every value in a list of its own
            plain = column.cast(pa.string()) if pa.types.is_large_string(column.type) else column
            ends = pa.array(range(len(plain) + 1), pa.int32())
            listed = pa.ListArray.from_arrays(ends, plain)
            arrays.append(listed)
        yield pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def main() -> None:
    begun = time.process_time()
    import apache_beam as beam
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0 import statistics_pb2

    loaded = time.process_time() - begun
    path = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "statistics")
        with beam.Pipeline(runner="DirectRunner") as flow:
            rows = flow | beam.Create([path]) | beam.FlatMap(batches)
            statistics = rows | tfdv.GenerateStatistics(tfdv.StatsOptions())
            _ = statistics | tfdv.WriteStatisticsToBinaryFile(target)
        found = tfdv.load_stats_binary(target)
    schema = tfdv.infer_schema(found)
    anomalies = tfdv.validate_statistics(found, schema)
    assert isinstance(found, statistics_pb2.DatasetFeatureStatisticsList)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "who": "tfdv",
        "rows": found.datasets[0].num_examples,
        "features": len(found.datasets[0].features),
        "anomalies": len(anomalies.anomaly_info),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "import_s": round(loaded, 1),
        "peak_mb": usage.ru_maxrss // 1024,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
