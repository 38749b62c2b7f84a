"""TensorFlow Transform on the job of benchmarks/features.py as far as it has it: fit and transform on Beam's direct runner, in one process.

It needs an environment of its own (see features.md), with no package of this project:

    python -m venv tft && tft/bin/pip install tensorflow-transform==1.16.0 dill 'setuptools<80'
    tft/bin/python benchmarks/features_tft.py benchmarks/data/flights_x1.parquet
"""

import json
import os
import resource
import sys
import tempfile
import time
import uuid
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NUMERIC = ["dep_delay", "distance", "sched_dep_time", "air_time"]
CATEGORICAL = ["carrier", "origin", "dest"]
CHUNK = 65_536
LEAST = 0.001


def batches(path):
    """Arrow batches as its input layout wants them: a list of one value, or of none, in each row."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(batch_size=CHUNK, columns=[*NUMERIC, *CATEGORICAL, "tailnum"]):
        arrays = []
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            plain = column.cast(pa.float32() if name in NUMERIC else pa.binary())
            held = np.asarray(plain.is_valid())
            ends = pa.array(np.concatenate([[0], np.cumsum(held)]).astype(np.int32))
            arrays.append(pa.ListArray.from_arrays(ends, plain.drop_null()))
        yield pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def features(inputs, least):
    """Scaled numbers with the mean in the place of what is missing (it has no median), ten bins, one-hot, and codes of a vocabulary."""
    import tensorflow as tf
    import tensorflow_transform as tft

    def dense(name, default):
        found = inputs[name]
        filled = tf.sparse.to_dense(tf.SparseTensor(found.indices, found.values, [found.dense_shape[0], 1]), default)
        return tf.squeeze(filled, axis=1)

    made = {}
    for name in NUMERIC:
        number = dense(name, float("nan"))
        mean = tft.mean(inputs[name])
        made[name] = tft.scale_to_z_score(tf.where(tf.math.is_nan(number), tf.fill(tf.shape(number), mean), number))
    made["bins"] = tft.bucketize(dense("distance", 0.0), 10)
    for name in CATEGORICAL:
        code = tft.compute_and_apply_vocabulary(dense(name, ""), vocab_filename=name, frequency_threshold=least, num_oov_buckets=1)
        made[name] = tf.one_hot(code, tf.cast(tft.experimental.get_vocabulary_size_by_name(name), tf.int32) + 1)
    made["tail"] = tft.compute_and_apply_vocabulary(dense("tailnum", ""), vocab_filename="tail")
    return made


def main() -> None:
    begun = time.process_time()
    import apache_beam as beam
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet as pq
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig

    marks = [("import", time.process_time() - begun)]
    path = sys.argv[1]
    rows = pq.ParquetFile(path).metadata.num_rows
    names = [*NUMERIC, *CATEGORICAL, "tailnum"]
    sparse = schema_pb2.TensorRepresentation.VarLenSparseTensor
    layout = TensorAdapterConfig(
        pa.schema([(name, pa.list_(pa.float32() if name in NUMERIC else pa.binary())) for name in names]),
        {name: schema_pb2.TensorRepresentation(varlen_sparse_tensor=sparse(column_name=name)) for name in names},
    )

    def write(found, folder):
        batch = found[0]
        with pyarrow.ipc.new_file(f"{folder}/{uuid.uuid4().hex}.arrow", batch.schema) as writer:
            writer.write_batch(batch)
        return batch.num_rows

    with tempfile.TemporaryDirectory() as folder, tft_beam.Context(temp_dir=f"{folder}/temporary"):
        with beam.Pipeline(runner="DirectRunner") as flow:
            read = flow | beam.Create([path]) | beam.FlatMap(batches)
            learnt = (read, layout) | tft_beam.AnalyzeDataset(lambda inputs: features(inputs, rows * LEAST))
            _ = learnt | tft_beam.WriteTransformFn(f"{folder}/graph")
        marks.append(("fit", time.process_time() - begun))
        out = Path(folder, "out")
        out.mkdir()
        with beam.Pipeline(runner="DirectRunner") as flow:
            read = flow | beam.Create([path]) | beam.FlatMap(batches)
            graph = flow | tft_beam.ReadTransformFn(f"{folder}/graph")
            made, _ = ((read, layout), graph) | tft_beam.TransformDataset(output_record_batches=True)
            _ = made | beam.Map(write, str(out))
        marks.append(("transform", time.process_time() - begun))
        written = [pyarrow.ipc.open_file(str(file)).read_all() for file in sorted(out.iterdir())]
        width = {name: len(written[0].column(name)[0]) for name in written[0].column_names}
        assert sum(table.num_rows for table in written) == rows
    usage = resource.getrusage(resource.RUSAGE_SELF)
    spans = {name: round(end - start, 1) for (name, end), start in zip(marks, [0.0, *(mark for _, mark in marks)], strict=False)}
    versions = {"tft": tft.__version__, "tensorflow": tf.__version__, "beam": beam.__version__}
    print(json.dumps({**versions, "rows": rows, "features": sum(width.values()), **spans, "peak_mb": usage.ru_maxrss // 1024}))


if __name__ == "__main__":
    main()
