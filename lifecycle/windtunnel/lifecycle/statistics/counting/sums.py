"""Sums of floats to the last bit as numpy forms them, from a stream.

Floating-point addition depends on its order. numpy adds pairwise: it halves an array until 128 elements are left. That tree is a
function of the array's length alone, so with the length known a stream can be added along the same tree and gives the very same bits,
holding at most 127 elements back between chunks. Where numpy converts while it adds (whole numbers, float32 into float64) it goes
through a buffer of 8,192 elements and adds those blocks in turn.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["BlockSum", "IntegerSum", "PairwiseSum"]

_LEAF = 128
_BLOCK = 8192
_ADD = -1  # on the stack of what is left to do: add the two values above


class PairwiseSum:
    """The sum that ``np.sum`` gives for one array of `length` elements, fed in pieces.

    Example:
        >>> values = np.random.default_rng(0).normal(size=1000)
        >>> total = PairwiseSum(1000, np.float64)
        >>> for piece in np.split(values, [1, 500, 777]):
        ...     total.add(piece)
        >>> bool(total.value() == values.sum())
        True
    """

    def __init__(self, length: int, dtype: npt.DTypeLike) -> None:
        self._todo = [length] if length else []
        self._values: list[np.floating] = []
        self._held = np.empty(0, dtype)

    def add(self, values: npt.NDArray[np.floating]) -> None:
        """The next elements."""
        held = np.concatenate([self._held, values]) if len(self._held) else values
        while self._todo:
            size = self._todo[-1]
            if size == _ADD:
                self._todo.pop()
                right, left = self._values.pop(), self._values.pop()
                self._values.append(left + right)
            # A part of the tree that is here as a whole is numpy's to add: it goes along the same tree.
            elif len(held) >= size:
                self._todo.pop()
                self._values.append(np.add.reduce(held[:size]))
                held = held[size:]
            elif size > _LEAF:
                self._todo.pop()
                # numpy's own halves: multiples of eight, because it adds eight numbers side by side.
                half = size // 2
                half -= half % 8
                # The left half on top, as elements come from the left; their sum waits below.
                self._todo += [_ADD, size - half, half]
            else:
                break
        # A copy: a view would keep the whole batch in memory.
        self._held = held.copy()

    def value(self) -> np.floating:
        """The sum."""
        return self._values[0] if self._values else self._held.dtype.type(0)


class BlockSum:
    """The sum that ``np.sum(dtype=float64)`` gives for numbers of another type.

    Example:
        >>> values = np.arange(20_000) * 10**12
        >>> total = BlockSum()
        >>> for piece in np.split(values, [5, 9000]):
        ...     total.add(piece)
        >>> bool(total.value() == values.sum(dtype=np.float64))
        True
    """

    def __init__(self) -> None:
        self._total = np.float64(0)
        self._held = np.empty(0, np.float64)

    def add(self, values: npt.NDArray[np.number]) -> None:
        """The next elements."""
        held = np.concatenate([self._held, values.astype(np.float64)])
        whole = len(held) // _BLOCK * _BLOCK
        for start in range(0, whole, _BLOCK):
            self._total = self._total + np.add.reduce(held[start : start + _BLOCK])
        # A copy: a view would keep the whole batch in memory.
        self._held = held[whole:].copy()

    def value(self) -> np.floating:
        """The sum."""
        return self._total + np.add.reduce(self._held) if len(self._held) else self._total


class IntegerSum:
    """The sum of whole numbers, modulo 2^64 as in numpy."""

    def __init__(self, *, unsigned: bool = False) -> None:
        self._total = 0
        self._unsigned = unsigned

    def add(self, values: npt.NDArray[np.integer]) -> None:
        """The next elements."""
        # The batch's own sum may have wrapped around already, which modulo 2**64 does no harm.
        self._total += int(values.sum())

    def value(self) -> np.integer:
        """The sum."""
        wrapped = self._total % (1 << 64)
        if self._unsigned:
            return np.uint64(wrapped)
        return np.int64(wrapped - (1 << 64) if wrapped >= 1 << 63 else wrapped)
