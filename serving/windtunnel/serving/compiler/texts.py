"""The steps of a plan for text: what CountVectorizer and TfidfVectorizer do, on distinct strings only."""

import dataclasses
import functools
import math
import re
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.serving.base.values import Texts
from windtunnel.serving.compiler.plan import Step, Value, as_matrix, refuse, register
from windtunnel.serving.compiler.steps import finite

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["Hashed", "Weigh", "Words", "from_hashing", "from_vectorizer"]


@register
class Words(Step):
    """One column of text to counts or TF-IDF weights of a vocabulary.

    Attributes:
        vocabulary: term -> column.
        analyzer: ``word``, ``char`` or ``char_wb``.
        pattern: the regular expression of a word.
        shortest: words in the shortest term.
        longest: words in the longest term.
        lowercase: whether text is lower-cased first.
        strip: ``unicode``, ``ascii`` or None.
        stop: words to leave out.
        binary: whether a count is at most one.
        sublinear: whether a count is 1 + log of it.
        idf: weights, or None.
        norm: ``l1``, ``l2`` or None.
        width: columns.
    """

    vocabulary: dict[str, int]
    analyzer: str
    pattern: str
    shortest: int
    longest: int
    lowercase: bool
    strip: Any
    stop: list[str]
    binary: bool
    sublinear: bool
    idf: Any
    norm: Any
    width: int
    _split: Callable[[str], list[str]] | None = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def run(self, value: Value) -> Value:
        """The weights of each row."""
        split, get = self.terms, self.vocabulary.get
        return _each_text(
            value, self.width, lambda row, text: self._weigh(row, [place for term in split(text) if (place := get(term)) is not None])
        )

    def terms(self, text: str) -> list[str]:
        """The terms of a text, in order, as often as they are there."""
        if self._split is None:
            self._split = self._tokenizer()
        return self._split(text)

    def _weigh(self, row: np.ndarray, places: list[int]) -> None:
        if not places:
            return
        found, counts = np.unique(np.array(places, dtype=np.int64), return_counts=True)
        weights = np.ones(len(found)) if self.binary else counts.astype(np.float64)
        if self.sublinear:
            weights = np.log(weights) + 1.0
        if self.idf is not None:
            weights = weights * self.idf[found]
        if self.norm == "l2":
            weights = weights / np.sqrt(np.dot(weights, weights))
        elif self.norm == "l1":
            weights = weights / np.abs(weights).sum()
        row[found] = weights

    def _tokenizer(self) -> Callable[[str], list[str]]:
        prepare = functools.partial(_prepare, lowercase=self.lowercase, strip=self.strip)
        if self.analyzer == "word":
            find, stop = re.compile(self.pattern).findall, frozenset(self.stop)
            return lambda text: _word_terms(find(prepare(text)), stop, self.shortest, self.longest)
        terms = _char_terms if self.analyzer == "char" else _char_wb_terms
        return lambda text: terms(prepare(text), self.shortest, self.longest)


def from_vectorizer(part: "BaseEstimator") -> Words:
    """The step of a fitted CountVectorizer or TfidfVectorizer.

    Raises:
        ValueError: it uses a function of its own (preprocessor, tokenizer, analyzer).
    """
    return _words(part, {str(term): int(place) for term, place in part.vocabulary_.items()})


def _words(part: "BaseEstimator", vocabulary: dict[str, int]) -> Words:
    _compilable(part)
    idf = np.asarray(part.idf_, dtype=np.float64) if getattr(part, "use_idf", False) else None
    return Words(
        vocabulary=vocabulary,
        analyzer=part.analyzer,
        pattern=part.token_pattern or "",
        shortest=int(part.ngram_range[0]),
        longest=int(part.ngram_range[1]),
        lowercase=bool(part.lowercase),
        strip=part.strip_accents,
        stop=sorted(part.get_stop_words() or []) if part.analyzer == "word" else [],
        binary=bool(part.binary),
        sublinear=bool(getattr(part, "sublinear_tf", False)),
        idf=idf,
        norm=getattr(part, "norm", None),
        width=len(vocabulary),
    )


def _compilable(part: "BaseEstimator") -> None:
    """Go on only with a vectorizer that uses no function of its own.

    Raises:
        ValueError: it uses one.
    """
    own = [name for name in ("preprocessor", "tokenizer") if getattr(part, name) is not None]
    if own or callable(part.analyzer) or callable(part.strip_accents):
        raise ValueError(f"{type(part).__name__} with its own {', '.join(own) or 'analyzer'} has no compiler")
    if part.analyzer == "word" and re.compile(part.token_pattern).groups > 1:
        raise ValueError("a token_pattern with several groups has no compiler")


_WIDEST_HASH = 1 << 14
"""Columns of a hashing vectorizer at most that are worth a dense row: wider ones are left to scikit-learn's sparse matrices."""


@register
class Hashed(Step):
    """One column of text to HashingVectorizer's columns.

    Attributes:
        words: how text becomes terms; its vocabulary is empty.
        width: columns.
        signed: whether the hash's sign is the weight's.
    """

    words: Words
    width: int
    signed: bool

    def run(self, value: Value) -> Value:
        """The weights of each row."""
        return _each_text(value, self.width, self._weigh)

    def _weigh(self, row: np.ndarray, text: str) -> None:
        from sklearn.utils import murmurhash3_32

        for term in self.words.terms(text):
            # seed 0 is scikit-learn's own
            number = murmurhash3_32(term, 0)
            # The one number whose negative is none: scikit-learn takes it for the largest.
            place = (_LARGEST - (self.width - 1)) % self.width if number == -_LARGEST - 1 else abs(number) % self.width
            row[place] += -1.0 if self.signed and number < 0 else 1.0
        if self.words.binary:
            row[row != 0] = 1.0
        _normalize(row, self.words.norm)


@register
class Weigh(Step):
    """TfidfTransformer: counts to weights."""

    sublinear: bool
    idf: object
    norm: Any

    def run(self, value: Value) -> Value:
        """The weights of each row."""
        x = finite(as_matrix(value), "TfidfTransformer", null=False).copy()
        if self.sublinear:
            there = x != 0
            x[there] = np.log(x[there]) + 1.0
        if self.idf is not None:
            x = x * self.idf
        for row in x:
            _normalize(row, self.norm)
        return x


_LARGEST = (1 << 31) - 1


def _normalize(row: np.ndarray, norm: str | None) -> None:
    size = math.sqrt(np.dot(row, row)) if norm == "l2" else float(np.abs(row).sum()) if norm == "l1" else 0.0
    if size > 0:
        row /= size


def from_hashing(part: "BaseEstimator") -> Hashed:
    """The step of a HashingVectorizer.

    Raises:
        ValueError: it uses a function of its own, or makes too many columns for dense rows.
    """
    if part.n_features > _WIDEST_HASH:
        raise ValueError(f"a HashingVectorizer of {part.n_features} columns has no compiler; one of at most {_WIDEST_HASH} has")
    return Hashed(words=_words(part, {}), width=int(part.n_features), signed=bool(part.alternate_sign))


def _prepare(text: str, *, lowercase: bool, strip: str | None) -> str:
    if lowercase:
        text = text.lower()
    if strip is not None and not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        if strip == "ascii":
            return decomposed.encode("ascii", "ignore").decode("ascii")
        return "".join(character for character in decomposed if not unicodedata.combining(character))
    return text


def _word_terms(words: list[str], stop: frozenset[str], shortest: int, longest: int) -> list[str]:
    if stop:
        words = [word for word in words if word not in stop]
    if longest == 1:
        return words
    return [" ".join(words[i : i + n]) for n in range(shortest, min(longest, len(words)) + 1) for i in range(len(words) - n + 1)]


_SPACES = re.compile(r"\s\s+")


def _char_terms(text: str, shortest: int, longest: int) -> list[str]:
    text = _SPACES.sub(" ", text)
    return [text[i : i + n] for n in range(shortest, min(longest, len(text)) + 1) for i in range(len(text) - n + 1)]


def _char_wb_terms(text: str, shortest: int, longest: int) -> list[str]:
    found = []
    for word in _SPACES.sub(" ", text).split():
        padded = f" {word} "
        for n in range(shortest, longest + 1):
            found.append(padded[:n])
            found += [padded[i : i + n] for i in range(1, len(padded) - n + 1)]
            if n >= len(padded):  # a short word counts once
                break
    return found


def _each_text(value: Value, width: int, weigh: Callable[[np.ndarray, str], None]) -> np.ndarray:
    """A row of weights for each text, found once for each distinct one."""
    column = value[0]
    if not isinstance(column, Texts):
        raise refuse("a number where the model needs text")
    used = range(len(column.values)) if column.codes is None else np.unique(column.codes).tolist()
    out = np.zeros((len(column.values), width))
    for row in used:
        text = column.values[row]
        if text is None:
            raise refuse("null where the model needs text")
        weigh(out[row], text)
    return out if column.codes is None else out[column.codes]
