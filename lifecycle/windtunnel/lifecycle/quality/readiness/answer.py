"""Answers to the questions of readiness, and the verdict that they amount to."""

import dataclasses
import shutil
import textwrap
from collections.abc import Sequence
from typing import Literal

from windtunnel.lifecycle.payload import JsonObject

__all__ = ["Answer", "Grade", "Readiness"]

Grade = Literal["stop", "care", "unknown", "fine"]
"""Mend it first; look at it; nobody can say; nothing is wrong."""

_MARKS = {"stop": "✗", "care": "!", "unknown": "?", "fine": "✓"}
_ORDER = ("stop", "care", "unknown", "fine")
_NARROW, _WIDE = 60, 140


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a question came to, for the table or for one column.

    Attributes:
        question: its name.
        grade: how grave it is.
        text: what was seen, with its figures.
        todo: what to do about it; empty where nothing needs to be done.
        column: the column that it is about, if one.
    """

    question: str
    grade: Grade
    text: str
    todo: str = ""
    column: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain data."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Readiness:
    """All answers, the gravest first."""

    answers: tuple[Answer, ...]

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> "Readiness":
        """Sorted by grade; within a grade in the order of the questions."""
        return cls(tuple(sorted(answers, key=lambda answer: _ORDER.index(answer.grade))))

    @property
    def verdict(self) -> str:
        """``not ready``, ``ready with care`` or ``ready``; what nobody can say is no readiness.

        Example:
            >>> Readiness.of([Answer("rows", "fine", "10,000"), Answer("labels", "unknown", "no label is named")]).verdict
            'ready with care'
        """
        grades = {answer.grade for answer in self.answers}
        if "stop" in grades:
            return "not ready"
        return "ready with care" if grades & {"care", "unknown"} else "ready"

    def to_dict(self) -> JsonObject:
        """Plain data: the verdict, how many answers there are of each grade, and the answers."""
        counts = {grade: sum(answer.grade == grade for answer in self.answers) for grade in _ORDER}
        return {"verdict": self.verdict, "counts": counts, "answers": [answer.to_dict() for answer in self.answers]}

    def lines(self, width: int = 0) -> list[str]:
        """The answers as text for a terminal, at most ``width`` characters wide (its own width if 0)."""
        width = min(max(width or shutil.get_terminal_size((100, 24)).columns, _NARROW), _WIDE)
        title = max((len(answer.question) for answer in self.answers), default=0) + 2
        found = [f"verdict: {self.verdict}"]
        for place, answer in enumerate(self.answers):
            head = f"{_MARKS[answer.grade]} {answer.question:<{title}}"
            text = f"{answer.column}: {answer.text}" if answer.column else answer.text
            blank = " " * len(head)
            found += textwrap.wrap(text, width, initial_indent=head, subsequent_indent=blank, break_on_hyphens=False)
            after = self.answers[place + 1] if place + 1 < len(self.answers) else None
            if after is not None and (after.question, after.todo) == (answer.question, answer.todo):
                continue  # said once, below the last of them
            found += textwrap.wrap(answer.todo, width, initial_indent=f"{blank}→ ", subsequent_indent=f"{blank}  ", break_on_hyphens=False)
        return found
