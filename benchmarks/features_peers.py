"""The job of benchmarks/features.py as one writes it by hand in Polars and in DuckDB: figures first, then the features into an Arrow file.

python benchmarks/features.py 10 all polars duckdb
"""

import time

NUMERIC = ["dep_delay", "distance", "sched_dep_time", "air_time"]
CATEGORICAL = ["carrier", "origin", "dest"]
LEAST = 0.001


def polars(path, output):
    import polars as pl

    marks = [("import", time.process_time())]
    rows = pl.scan_parquet(path)
    filled = rows.select(pl.col(name).fill_null(pl.col(name).median()).cast(pl.Float64) for name in NUMERIC)
    first = [pl.col(name).median().alias(f"{name}_median") for name in NUMERIC]
    edges = [pl.col("distance").quantile(share / 10, "linear").alias(f"edge{share}") for share in range(1, 10)]
    tails = pl.col("tailnum").drop_nulls().unique().sort().implode().alias("tails")
    counted = [pl.col(name).value_counts(sort=True).implode().alias(name) for name in CATEGORICAL]
    known = rows.select(*first, *edges, tails, *counted, pl.len().alias("rows")).collect(engine="streaming").row(0, named=True)
    moments = [pl.col(name).mean().alias(f"{name}_mean") for name in NUMERIC] + [
        pl.col(name).std(ddof=0).alias(f"{name}_std") for name in NUMERIC
    ]
    known |= filled.select(moments).collect(engine="streaming").row(0, named=True)
    marks.append(("fit", time.process_time()))
    made = [
        ((pl.col(n).fill_null(known[f"{n}_median"]) - known[f"{n}_mean"]) / known[f"{n}_std"]).cast(pl.Float32).alias(n) for n in NUMERIC
    ]
    inner = sorted({known[f"edge{share}"] for share in range(1, 10)})
    made.append(pl.sum_horizontal((pl.col("distance") >= edge).cast(pl.Float32) for edge in inner).alias("bins"))
    for name in CATEGORICAL:
        often = [entry[name] for entry in known[name] if entry["count"] >= LEAST * known["rows"]]
        made += [(pl.col(name) == value).cast(pl.Float32).alias(f"{name}_{value}") for value in often]
        made.append((~pl.col(name).is_in(often)).cast(pl.Float32).alias(f"{name}_infrequent"))
    made.append(pl.col("tailnum").cast(pl.Enum(known["tails"])).to_physical().cast(pl.Float32).fill_null(-2).alias("tail"))
    rows.select(made).sink_ipc(output)
    marks.append(("transform", time.process_time()))
    return marks


def duckdb(path, output):
    import duckdb as db
    import pyarrow as pa
    import pyarrow.ipc

    marks = [("import", time.process_time())]
    connection = db.connect()
    connection.execute("SET preserve_insertion_order = true")
    rows = f"read_parquet('{path}')"
    figures = [f"median({name})" for name in NUMERIC] + [f"quantile_cont(distance, {share / 10})" for share in range(1, 10)]
    found = connection.execute(f"SELECT {', '.join(figures)}, count(*) FROM {rows}").fetchone()
    medians, edges, total = dict(zip(NUMERIC, found[:4], strict=True)), sorted(set(found[4:13])), found[13]
    parts = [f"avg(coalesce({n}, {medians[n]})), stddev_pop(coalesce({n}, {medians[n]}))" for n in NUMERIC]
    moments = connection.execute(f"SELECT {', '.join(parts)} FROM {rows}").fetchone()
    often = {
        name: [
            v
            for (v,) in connection.execute(f"SELECT {name} FROM {rows} GROUP BY 1 HAVING count(*) >= {LEAST * total} ORDER BY 1").fetchall()
        ]
        for name in CATEGORICAL
    }
    distinct = f"SELECT DISTINCT tailnum FROM {rows} WHERE tailnum IS NOT NULL"
    connection.execute(f"CREATE TABLE tails AS SELECT tailnum, row_number() OVER (ORDER BY tailnum) - 1 AS code FROM ({distinct})")
    marks.append(("fit", time.process_time()))
    made = [f"((coalesce({n}, {medians[n]}) - {moments[2 * i]}) / {moments[2 * i + 1]})::FLOAT AS {n}" for i, n in enumerate(NUMERIC)]
    made.append(" + ".join(f"(distance >= {edge})::INT" for edge in edges) + " AS bins")
    for name in CATEGORICAL:
        made += [f"({name} = '{value}')::FLOAT AS {name}_{value}" for value in often[name]]
        made.append(f"({name} NOT IN ({', '.join(repr(v) for v in often[name])}))::FLOAT AS {name}_infrequent")
    made.append("coalesce(code, -2)::FLOAT AS tail")
    query = f"SELECT {', '.join(made)} FROM {rows} LEFT JOIN tails USING (tailnum)"
    reader = connection.execute(query).to_arrow_reader(131_072)
    with pa.OSFile(output, "wb") as file, pyarrow.ipc.new_file(file, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
    marks.append(("transform", time.process_time()))
    return marks
