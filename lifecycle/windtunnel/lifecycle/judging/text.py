"""Metrics of generated text beside references: corpus BLEU and ROUGE, from mergeable counts.

BLEU follows Papineni et al. (2002): clipped n-gram precision up to four words, geometric mean, brevity penalty; ROUGE-N and ROUGE-L follow
Lin (2004) as mean F1 over examples. Words are what `words` finds: Unicode words in lower case, and single marks.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

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
        self.matches = np.zeros(_ORDERS, dtype=np.int64)
        self.totals = np.zeros(_ORDERS, dtype=np.int64)
        self.length = self.reference_length = 0
        self.rouge = np.zeros(3)  # ROUGE-1, ROUGE-2, ROUGE-L: sums of F1

    def add(self, texts: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """Count texts, each with one or more references."""
        for text, several in zip(texts, references, strict=True):
            said, known = self.split(text), [self.split(reference) for reference in several]
            self.rows += 1
            self.length += len(said)
            self.reference_length += min((len(k) for k in known), key=lambda size: (abs(size - len(said)), size))
            for order in range(1, _ORDERS + 1):
                grams = _grams(said, order)
                ceiling: Counter[tuple[str, ...]] = Counter()
                for reference in known:
                    ceiling |= _grams(reference, order)
                self.matches[order - 1] += sum((grams & ceiling).values())
                self.totals[order - 1] += max(len(said) - order + 1, 0)
            self.rouge += np.max([[_rouge_n(said, k, 1), _rouge_n(said, k, 2), _rouge_l(said, k)] for k in known], axis=0)

    def merge(self, other: "Text") -> None:
        """Take in another tally."""
        self.rows += other.rows
        self.length += other.length
        self.reference_length += other.reference_length
        self.matches += other.matches
        self.totals += other.totals
        self.rouge += other.rouge

    def figures(self) -> dict[str, float]:
        """Each from 0 to 1: bleu, rouge_1, rouge_2, rouge_l."""
        rouge = self.rouge / self.rows if self.rows else np.full(3, math.nan)
        found = dict(zip(("rouge_1", "rouge_2", "rouge_l"), rouge.tolist(), strict=True))
        if not self.totals.all() or not self.matches.all():
            return {"bleu": 0.0 if self.rows else math.nan, **found}
        precision = math.exp(float(np.log(self.matches / self.totals).mean()))
        brevity = 1.0 if self.length > self.reference_length else math.exp(1 - self.reference_length / max(self.length, 1))
        return {"bleu": brevity * precision, **found}


def _grams(text: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(text[i : i + order]) for i in range(len(text) - order + 1))


def _rouge_n(said: Sequence[str], known: Sequence[str], order: int) -> float:
    one, other = _grams(said, order), _grams(known, order)
    return _f1(sum((one & other).values()), sum(one.values()), sum(other.values()))


def _rouge_l(said: Sequence[str], known: Sequence[str]) -> float:
    row = [0] * (len(known) + 1)
    for word in said:
        diagonal = 0
        for i, other in enumerate(known, start=1):
            diagonal, row[i] = row[i], diagonal + 1 if word == other else max(row[i], row[i - 1])
    return _f1(row[-1], len(said), len(known))


def _f1(hits: int, said: int, known: int) -> float:
    return 2 * hits / (said + known) if hits else 0.0
