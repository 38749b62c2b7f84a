"""scikit-learn fits itself on small stand-ins here; its warnings would speak about them and not about the data."""

import contextlib
import warnings
from collections.abc import Iterator

import numpy as np

__all__ = ["quiet"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings; never held across a yield to the engine."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
