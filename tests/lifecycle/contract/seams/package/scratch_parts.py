"""The parts that the rows name."""

import dataclasses
from typing import ClassVar

import numpy as np
import pyarrow as pa
from airflow.sdk import BaseNotifier
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin

from windtunnel.beam_jobs.features.tallies.accumulator import Accumulator
from windtunnel.lifecycle.contract.source_options import checked
from windtunnel.lifecycle.data.sources import Chunk, Piece, Unit


class Halver(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        values = np.asarray(X, dtype=float)
        self.n_features_in_, self.top_ = values.shape[1], values.max(axis=0)
        if hasattr(X, "columns"):
            self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        return self

    def transform(self, X):
        return np.asarray(X, dtype=float) / self.top_ / 2


class HalverAccumulator(Accumulator):
    def __init__(self, estimator):
        super().__init__(estimator)
        self.rows = []

    def accumulate(self, X, y=None, sample_weight=None):
        self.rows.append(X.max().to_frame().T)

    def merge(self, other):
        self.rows += other.rows

    def finish(self):
        import pandas as pd

        return self.estimator.fit(pd.concat(self.rows))


def compile_halver(_compiler, fitted):
    from windtunnel.serving.compiler import steps

    return steps.Affine(div=fitted.top_ * 2, label="Halver")


@dataclasses.dataclass(frozen=True)
class CountdownOptions:
    start: int = 3

    @classmethod
    def of(cls, values, where):
        return cls(**checked(values, {"start"}, where))


def plan_countdown(_problem, window, _settings, _version):
    return [Unit(window.days[-1].isoformat(), "always", (Piece(0, "countdown"),))]


def read_countdown(problem, _piece, _settings):
    start = CountdownOptions.of(problem.source.options, "here").start
    yield Chunk(pa.record_batch({"id": list(range(start, 0, -1))}), [], start)


class MemoTarget:
    capabilities = frozenset()
    kept: ClassVar[list] = []

    def __init__(self, url):
        self.url = url

    def push(self, model, version, folder, digest, labels, route=None):
        self.kept.append((model, version, digest))

    def label(self, model, version, labels, route=None, *, drop=()):
        self.kept.append((model, version, tuple(labels)))


def memo_target(url, _settings, _token):
    return MemoTarget(url)


def share_found(truth, prediction):
    return float(np.mean(prediction[truth == 1] >= 0.5))


@dataclasses.dataclass(frozen=True)
class Coin:
    what = "always one half"

    def scores(self, rows):
        return np.full((rows.num_rows, 2), 0.5)


def fit_coin(_problem, _bundle, _rows, _label):
    return Coin()


class NoteNotifier(BaseNotifier):
    notes: ClassVar[list] = []

    def __init__(self, text=""):
        super().__init__()
        self.text = text

    def notify(self, context):
        self.notes.append(self.text)


def digest_page(folder, result):
    return f"<p>{sorted(result)} beside {len(list(folder.iterdir()))} files</p>"
