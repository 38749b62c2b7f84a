"""Ordinary scikit-learn preprocessing, fitted over any amount of data.

`fit` answers the ordinary fitted object, equal to what ``.fit()`` on all rows would have given; `transform` writes shards that train
fast; `preprocess` is the stage of a retraining run. Names are imported when they are used, so that reading shards costs no Beam.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windtunnel.beam_jobs.features.accumulator import Accumulator
    from windtunnel.beam_jobs.features.fitting import fit
    from windtunnel.beam_jobs.features.options import Options
    from windtunnel.beam_jobs.features.stage import preprocess
    from windtunnel.beam_jobs.features.transforming import fit_transform, transform
    from windtunnel.lifecycle.shards import load_manifest, load_shards, load_transformer

__all__ = ["Accumulator", "Options", "fit", "fit_transform", "load_manifest", "load_shards", "load_transformer", "preprocess", "transform"]

_ROOMS = {
    "Accumulator": "windtunnel.beam_jobs.features.accumulator",
    "Options": "windtunnel.beam_jobs.features.options",
    "fit": "windtunnel.beam_jobs.features.fitting",
    "fit_transform": "windtunnel.beam_jobs.features.transforming",
    "transform": "windtunnel.beam_jobs.features.transforming",
    "load_manifest": "windtunnel.lifecycle.shards",
    "load_shards": "windtunnel.lifecycle.shards",
    "load_transformer": "windtunnel.lifecycle.shards",
    "preprocess": "windtunnel.beam_jobs.features.stage",
}


def __getattr__(name: str) -> Any:
    """The public names, from their rooms."""
    if name in _ROOMS:
        return getattr(importlib.import_module(_ROOMS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
