"""Metrics of generated text beside references: corpus BLEU and ROUGE, from mergeable counts.

BLEU follows Papineni et al. (2002): clipped n-gram precision up to four words, geometric mean, brevity penalty; ROUGE-N and ROUGE-L follow
Lin (2004) as mean F1 over examples. `windtunnel.lifecycle.judging.tallies.Spread` gives their intervals. Words are what `words` finds:
Unicode words in lower case, and single marks.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from windtunnel.lifecycle.judging.tallies import GROUPS

__all__ = ["Text", "words"]

_ORDERS = 4
_WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """The words of a text.

    Example:
        >>> words("It's late, Bob.")
        ['it', "'", 's', 'late', ',', 'bob', '.']
    """
    return _WORD.findall(text.lower())


class Text:
    """The mergeable tally of texts beside their references.

    Example:
        >>> tally = Text()
        >>> tally.add(["the cat sat on the mat"], [["the cat sat on the mat"]])
        >>> round(tally.figures()["bleu"], 6), tally.figures()["rouge_l"]
        (1.0, 1.0)
    """

    def __init__(self, split: Callable[[str], list[str]] = words) -> None:
        self.split = split
        self.rows = 0
        self.count: np.ndarray = np.zeros(GROUPS, dtype=np.int64)
        self.matches: np.ndarray = np.zeros((GROUPS, _ORDERS), dtype=np.int64)
        self.totals: np.ndarray = np.zeros((GROUPS, _ORDERS), dtype=np.int64)
        self.length: np.ndarray = np.zeros((GROUPS, 2), dtype=np.int64)  # of the texts, of their references
        self.rouge: np.ndarray = np.zeros((GROUPS, 3))  # ROUGE-1, ROUGE-2, ROUGE-L: sums of F1

    def add(self, texts: Sequence[str], references: Sequence[Sequence[str]], group: np.ndarray | None = None) -> None:
        """Count texts, each with one or more references, and the group that each is dealt into; by default in turn."""
        if group is None:
            group = (self.rows + np.arange(len(texts))) % GROUPS
        for text, several, place in zip(texts, references, group.tolist(), strict=True):
            said, known = self.split(text), [self.split(reference) for reference in several]
            self.rows += 1
            self.count[place] += 1
            # BLEU's reference length: of several references the closest, of two as close the shorter.
            self.length[place] += (len(said), min((len(k) for k in known), key=lambda size: (abs(size - len(said)), size)))
            for order in range(1, _ORDERS + 1):
                grams = _grams(said, order)
                ceiling: Counter[tuple[str, ...]] = Counter()
                for reference in known:
                    ceiling |= _grams(reference, order)
                self.matches[place, order - 1] += sum((grams & ceiling).values())
                self.totals[place, order - 1] += max(len(said) - order + 1, 0)
            # The best of several references, as Lin has it.
            self.rouge[place] += np.max([[_rouge_n(said, k, 1), _rouge_n(said, k, 2), _rouge_l(said, k)] for k in known], axis=0)

    def merge(self, other: "Text") -> None:
        """Take in another tally."""
        self.rows += other.rows
        for name in ("count", "matches", "totals", "length", "rouge"):
            getattr(self, name)[...] += getattr(other, name)

    def figures(self, without: int | None = None) -> dict[str, float]:
        """Each from 0 to 1: bleu, rouge_1, rouge_2, rouge_l; of all texts or without one group."""
        held = np.arange(GROUPS) != (-1 if without is None else without)
        matches, totals, rows = self.matches[held].sum(axis=0), self.totals[held].sum(axis=0), int(self.count[held].sum())
        length, reference_length = self.length[held].sum(axis=0).tolist()
        rouge = self.rouge[held].sum(axis=0) / rows if rows else np.full(3, math.nan)
        found = dict(zip(("rouge_1", "rouge_2", "rouge_l"), rouge.tolist(), strict=True))
        # No smoothing: one order without a match makes the geometric mean 0, and has no logarithm.
        if not totals.all() or not matches.all():
            return {"bleu": 0.0 if rows else math.nan, **found}
        precision = math.exp(float(np.log(matches / totals).mean()))
        brevity = 1.0 if length > reference_length else math.exp(1 - reference_length / max(length, 1))
        return {"bleu": brevity * precision, **found}


def _grams(text: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(text[i : i + order]) for i in range(len(text) - order + 1))


def _rouge_n(said: Sequence[str], known: Sequence[str], order: int) -> float:
    one, other = _grams(said, order), _grams(known, order)
    return _f1(sum((one & other).values()), sum(one.values()), sum(other.values()))


def _rouge_l(said: Sequence[str], known: Sequence[str]) -> float:
    row = [0] * (len(known) + 1)
    for word in said:
        # One row of the table of common subsequences at a time: memory goes with one text, not with both.
        diagonal = 0
        for i, other in enumerate(known, start=1):
            diagonal, row[i] = row[i], diagonal + 1 if word == other else max(row[i], row[i - 1])
    return _f1(row[-1], len(said), len(known))


def _f1(hits: int, said: int, known: int) -> float:
    return 2 * hits / (said + known) if hits else 0.0
