"""One call of treelite's library for each prediction.

treelite's own Python function prepares every call anew (a configuration as JSON, shapes, conversions): more than the trees themselves
cost for one row. Here that is done once for each model.
"""

import ctypes
from typing import Any

import numpy as np
import treelite
from treelite.core import _LIB
from treelite.gtil.gtil import GTILConfig

from windtunnel.lifecycle.contract.errors import IntegrityError

__all__ = ["Ensemble"]

# A handle of our own on the same library, so that its argument types are ours alone.
_CALL = ctypes.CDLL(_LIB._name)  # where the library was loaded from
_PREDICT = _CALL.TreeliteGTILPredict
_PREDICT.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p]
_PREDICT.restype = ctypes.c_int


class Ensemble:
    """A tree ensemble that is ready to predict; may be used by several threads.

    Args:
        serialized: treelite's own form of it.
        margin: whether raw sums are wanted, without treelite's own link.

    Raises:
        IntegrityError: it is not one of float64 features and outputs.
    """

    def __init__(self, serialized: bytes, *, margin: bool) -> None:
        self._model = treelite.Model.deserialize_bytes(serialized)
        if (self._model.input_type, self._model.output_type) != ("float64", "float64"):
            raise IntegrityError(f"a tree ensemble of {self._model.input_type} cannot be served; it must be of float64")
        # One thread: several requests, not one, share the cores.
        self._config = GTILConfig(predict_type="raw" if margin else "default", nthread=1)
        self.features = int(self._model.num_feature)
        probe = treelite.gtil.predict(self._model, np.zeros((1, self.features)), nthread=1, pred_margin=margin)
        self.width = int(probe.size)
        self._output = ctypes.c_double * self.width
        self._handle, self._settings = self._model.handle, self._config.handle

    def many(self, x: np.ndarray) -> np.ndarray:
        """The outputs of a float64 matrix, one row each."""
        x = np.ascontiguousarray(x, dtype=np.float64)
        self._check(x.shape[1])
        out = np.zeros((len(x), self.width))
        self._call(x.ctypes.data, len(x), out.ctypes.data)
        return out

    def one(self, packed: bytes) -> list[float]:
        """The outputs of one row, given as its float64 values in memory."""
        self._check(len(packed) // 8)
        out = self._output()
        self._call(packed, 1, out)
        return list(out)

    def _call(self, data: Any, count: int, out: object) -> None:
        if _PREDICT(self._handle, data, b"float64", count, out, self._settings):
            raise IntegrityError("treelite could not run the model")

    def _check(self, width: int) -> None:
        if width != self.features:
            raise IntegrityError(f"the trees know {self.features} features but the plan gives {width}")
