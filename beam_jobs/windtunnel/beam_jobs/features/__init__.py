"""Ordinary scikit-learn preprocessing, fitted over any amount of data.

`fit` answers the ordinary fitted object, equal to what ``.fit()`` on all rows would have given; `transform` writes shards that train
fast; `preprocess` is the stage of a retraining run. Names are imported when they are used, so that reading shards costs no Beam.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windtunnel.beam_jobs.features.applying.transforming import fit_transform, transform
    from windtunnel.beam_jobs.features.fitting.fitting import fit
    from windtunnel.beam_jobs.features.options import Options
    from windtunnel.beam_jobs.features.stage import preprocess
    from windtunnel.beam_jobs.features.tallies.accumulator import Accumulator
    from windtunnel.lifecycle.learning.shards import load_manifest, load_shards, load_transformer

__all__ = ["Accumulator", "Options", "fit", "fit_transform", "load_manifest", "load_shards", "load_transformer", "preprocess", "transform"]

_ROOMS = {
    "Accumulator": "windtunnel.beam_jobs.features.tallies.accumulator",
    "Options": "windtunnel.beam_jobs.features.options",
    "fit": "windtunnel.beam_jobs.features.fitting.fitting",
    "fit_transform": "windtunnel.beam_jobs.features.applying.transforming",
    "transform": "windtunnel.beam_jobs.features.applying.transforming",
    "load_manifest": "windtunnel.lifecycle.learning.shards",
    "load_shards": "windtunnel.lifecycle.learning.shards",
    "load_transformer": "windtunnel.lifecycle.learning.shards",
    "preprocess": "windtunnel.beam_jobs.features.stage",
}


def __getattr__(name: str) -> Any:
    """The public names, from their rooms."""
    if name in _ROOMS:
        return getattr(importlib.import_module(_ROOMS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
