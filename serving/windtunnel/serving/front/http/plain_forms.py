"""Bodies of one plain row, in each protocol that is JSON: read to a row, and written from its answer.

A form answers None for whatever is not the plain case.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from windtunnel.lifecycle.model.bundle import Bundle
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.serving.base import quickjson
from windtunnel.serving.front import v2
from windtunnel.serving.front.http.formats import labels_of
from windtunnel.serving.routing.lane import SIMPLE, Lane

__all__ = ["FORMS", "Form", "Row", "tensors_head"]

Row = dict[str, Any]


class Form(ABC):
    """One protocol's bodies of a single row.

    Args:
        lane: the version that answers.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane

    @abstractmethod
    def read(self, body: bytes) -> Row | None:
        """The row of a body; None where it is another body than the plain one."""

    @abstractmethod
    def write(self, found: Row, text: bytes, identity: bytes) -> tuple[bytes, bytes]:
        """The body of the answer, and its media type with further headers.

        Args:
            found: the answer.
            text: the same as JSON.
            identity: the request's id, as JSON.
        """


class OwnRows(Form):
    """``{"rows": [{column: value}]}``."""

    def __init__(self, lane: Lane) -> None:
        super().__init__(lane)
        served, arm, version = lane.found
        self._about = quickjson.encode({"model": served.name, "version": version, "route": arm})[1:-1]

    def read(self, body: bytes) -> Row | None:
        """Its only row."""
        asked = quickjson.plain(body)
        return _only(body, asked, asked.get("rows")) if type(asked) is dict else None

    def write(self, found: Row, text: bytes, identity: bytes) -> tuple[bytes, bytes]:
        """One object, and who answered."""
        return b'{"id":%b,%b,"predictions":[%b]}' % (identity, self._about, text), b"application/json"


def _only(body: bytes, asked: Row, rows: Any) -> Row | None:
    """The only row of a body that has nothing beside it."""
    if type(rows) is not list or len(rows) != 1 or len(asked) != 1 or type(rows[0]) is not dict:
        return None
    return rows[0] if quickjson.once(body, 1 + len(rows[0])) else None


class Instances(Form):
    """KServe's v1 protocol: ``{"instances": [{column: value}]}``, or a list in the order of the inputs."""

    def __init__(self, lane: Lane) -> None:
        super().__init__(lane)
        self._labels = {name: b'{"predictions":[%b]}' % quickjson.encode(label) for name, label in _guessed(lane.engine.bundle).items()}
        self._names = lane.engine.schema.names

    def read(self, body: bytes) -> Row | None:
        """Its only row."""
        asked = quickjson.plain(body)
        return self._of(body, asked, "instances") if type(asked) is dict else None

    def _of(self, body: bytes, asked: Row, form: str) -> Row | None:
        rows = asked.get(form)
        if type(rows) is list and len(rows) == len(asked) == 1 and type(rows[0]) is list:
            return self._named(self._names, rows[0]) if quickjson.once(body, 1) else None
        return _only(body, asked, rows)

    @staticmethod
    def _named(names: Sequence[str], values: list[Any]) -> Row | None:
        return dict(zip(names, values, strict=True)) if len(names) == len(values) else None

    def write(self, found: Row, text: bytes, identity: bytes) -> tuple[bytes, bytes]:
        """A plain prediction."""
        prediction = found["prediction"]
        known = self._labels.get(prediction) if type(prediction) is str else None
        return known or b'{"predictions":[%b]}' % quickjson.encode(prediction), b"application/json"


def _guessed(bundle: Bundle) -> JsonObject:
    """Class name -> class, of bundles that do not say what type their classes are of."""
    return {} if bundle.label_type else labels_of(bundle)


class Invocations(Instances):
    """MLflow's scoring protocol: a data frame in one of its forms that are JSON."""

    def read(self, body: bytes) -> Row | None:
        """Its only row."""
        asked = quickjson.plain(body)
        if type(asked) is not dict:
            return None
        if "dataframe_split" in asked:
            return self._split(body, asked, asked["dataframe_split"])
        return self._of(body, asked, "dataframe_records" if "dataframe_records" in asked else "instances")

    def _split(self, body: bytes, asked: Row, frame: Any) -> Row | None:
        """The row of pandas' own form, whose index says nothing but how many rows there are."""
        if type(frame) is not dict or len(asked) != 1 or not frame.keys() <= _SPLIT or not quickjson.once(body, 1 + len(frame)):
            return None
        names: Any = frame.get("columns")
        data: Any = frame.get("data")
        if not _is_list(names, str) or not _is_list(data, list) or not _are_of_one(data, frame.get("index")):
            return None
        row = self._named(names, data[0])
        return row if row is not None and len(row) == len(names) else None


def _are_of_one(data: list[Any], index: object) -> bool:
    """Whether data, and an index if there is any, are of one row."""
    return len(data) == 1 and (index is None or (isinstance(index, list) and len(index) == 1))


def _is_list(value: Any, kind: type) -> bool:
    """Whether a value is a list of something, all of one type."""
    return type(value) is list and set(map(type, value)) == {kind}


_SPLIT = {"columns", "data", "index"}


class Tensors(Form):
    """The Open Inference Protocol as JSON: one tensor of one value a column, and all outputs wanted as JSON too."""

    def __init__(self, lane: Lane) -> None:
        super().__init__(lane)
        self._count = len(lane.engine.schema.names)
        self._kinds = {name: datatype.encode() for name, datatype in v2.outputs_of(lane.engine).items()}
        self._about = tensors_head(lane)

    @classmethod
    def of(cls, lane: Lane) -> "Tensors | None":
        """The form of a version; None where an answer has more than a prediction and a score."""
        return cls(lane) if lane.engine.bundle.task in SIMPLE else None

    def read(self, body: bytes) -> Row | None:
        """The row that the tensors are."""
        asked = quickjson.plain(body)
        inputs = asked.get("inputs") if type(asked) is dict and len(asked) == 1 else None
        if type(inputs) is not list or len(inputs) != self._count or not quickjson.once(body, 1 + 4 * self._count):
            return None
        try:
            row = {tensor["name"]: _value(tensor) for tensor in inputs}
        except (KeyError, TypeError, ValueError):
            return None
        return row if len(row) == self._count else None

    def write(self, found: Row, text: bytes, identity: bytes) -> tuple[bytes, bytes]:
        """One tensor of one value an output."""
        outputs = b",".join(
            b'{"name":"%b","datatype":"%b","shape":[1],"data":[%b]}' % (name.encode(), self._kinds[name], quickjson.encode(value))
            for name, value in found.items()
        )
        return b'{"id":%b,%b,"outputs":[%b]}' % (identity, self._about, outputs), b"application/json"


def tensors_head(lane: Lane) -> bytes:
    """Who answered, as members of a JSON object."""
    served, arm, version = lane.found
    return quickjson.encode({"model_name": served.name, "model_version": version, "parameters": {"route": arm}})[1:-1]


def _value(tensor: Row) -> Any:
    """The one value of a tensor.

    Raises:
        KeyError, TypeError, ValueError: it has not just one, or is no tensor.
    """
    (value,) = tensor["data"]
    if not _is_single(tensor["shape"]) or tensor["datatype"] not in _DATATYPES or type(value) in _NESTED:
        raise ValueError
    return value


def _is_single(shape: Any) -> bool:
    """Whether a tensor's shape is that of one value."""
    return shape in _SINGLE and type(shape[0]) is int is type(shape[-1])


_SINGLE = ([1], [1, 1])
_NESTED = {list, dict}
_DATATYPES = {"BYTES", "INT64", "FP32", "FP64"}  # of the narrower ones the values have to be looked at

FORMS: dict[str, Callable[[Lane], Form | None]] = {
    "json": OwnRows,
    "kserve": Instances,
    "mlflow": Invocations,
    "http": Tensors.of,
}
"""A codec's protocol -> its form."""
