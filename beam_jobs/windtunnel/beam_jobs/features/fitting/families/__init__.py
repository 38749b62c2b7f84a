"""How each family of scikit-learn estimators is fitted; importing this registers all of them."""

from windtunnel.beam_jobs.features.fitting.families import (
    binning,
    curves,
    decomposition,
    encoding,
    imputing,
    labels,
    scaling,
    selection,
    stateless,
    target,
    text,
)

__all__ = [
    "binning",
    "curves",
    "decomposition",
    "encoding",
    "imputing",
    "labels",
    "scaling",
    "selection",
    "stateless",
    "target",
    "text",
]
