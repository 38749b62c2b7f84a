"""What a request gets, whatever protocol it came by."""

import numpy as np

from windtunnel.serving.compiler.engine import Engine

__all__ = ["Answer"]


class Answer:
    """What a request gets.

    Attributes:
        id: the request's.
        model: its name.
        version: the version that answered.
        route: the arm: a label, or the version itself.
        engine: what answered.
        scores: the score matrix.
        rows: the same as one JSON object a row.
    """

    __slots__ = ("engine", "id", "model", "route", "rows", "scores", "version")

    def __init__(self, identity: str, model: str, version: str, route: str, engine: Engine, scores: np.ndarray) -> None:
        self.id, self.model, self.version, self.route, self.engine, self.scores = identity, model, version, route, engine, scores
        self.rows = engine.answers(scores)
