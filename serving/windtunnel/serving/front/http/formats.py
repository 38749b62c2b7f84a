"""Bodies that teams already send: MLflow's scoring protocol (four kinds of JSON, and CSV) and KServe's v1 protocol.

Both answer a list of plain predictions, as the scikit-learn pipeline's own ``predict`` would: a caller of ``mlflow models serve`` changes
its URL and nothing else.
"""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from windtunnel.lifecycle.model.bundle import Bundle
from windtunnel.serving.base.batch import Batch, Named, Rows, from_csv, from_matrix
from windtunnel.serving.base.values import InvalidInputError, Schema, invalid
from windtunnel.serving.front.http import predicting
from windtunnel.serving.front.http.messages import Ask, Headers, Refused, Reply, json_of, parsed
from windtunnel.serving.front.http.predicting import Asked, asked_of, identified, schema_of
from windtunnel.serving.routing.answer import Answer
from windtunnel.serving.routing.service import MAX_ROWS, Service

__all__ = ["JSON_KINDS", "Instances", "Invocations", "batch_of", "kind_of", "plain"]

JSON_KINDS = {"", "application/json", "application/x-www-form-urlencoded"}  # the last is what curl says unless it is told


class Instances:
    """KServe's v1 protocol: ``{"instances": [...]}`` with one object, or one list in the order of the inputs, a row."""

    protocol = "kserve"
    explains = False

    def read(self, ask: Ask, service: Service) -> Asked:
        """Rows by name or by place."""
        body = parsed(ask.body)
        if not isinstance(body, dict) or not isinstance(body.get("instances", body.get("inputs")), list):
            raise _bad("instances", "must be a list: one object, or one list in the order of the inputs, a row")
        instances = {"instances": body.get("instances", body.get("inputs"))}
        return asked_of(batch_of(instances, schema_of(ask, service)), ask, service)

    def write(self, answer: Answer, asked: Asked) -> Reply:
        """Plain predictions."""
        return json_of({"predictions": plain(answer)}, headers=identified(answer))


class Invocations(Instances):
    """MLflow's scoring protocol; a body of ``rows`` is answered as `Rows` does, and SageMaker's endpoints may send either."""

    protocol = "mlflow"

    def read(self, ask: Ask, service: Service) -> Asked:
        """Rows of a data frame, in one of its forms."""
        kind = kind_of(ask.headers)
        if kind == "text/csv":
            return asked_of(_csv(ask, service), ask, service)
        if kind not in JSON_KINDS:
            text = f"Content-Type {kind[:60]!r} is not read here; application/json and text/csv are"
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text)

        body = parsed(ask.body)
        if isinstance(body, dict) and "rows" in body:
            asked = predicting.Rows.asked(body, ask, service)
            asked.extra = predicting.Rows()
            return asked
        return asked_of(batch_of(body, schema_of(ask, service)), ask, service)

    def write(self, answer: Answer, asked: Asked) -> Reply:
        """Plain predictions, or what `Rows` says to those who asked in its words."""
        return asked.extra.write(answer, asked) if asked.extra is not None else super().write(answer, asked)


def kind_of(headers: Headers) -> str:
    """The media type of a body, without its parameters; nothing where none is said.

    Example:
        >>> kind_of({b"content-type": b"Text/CSV; charset=utf-8"})
        'text/csv'
    """
    return headers.get(b"content-type", b"").decode("latin-1").lower().partition(";")[0].strip()


def batch_of(body: Any, schema: Schema) -> Batch:
    """The rows of a body in one of MLflow's JSON forms.

    Args:
        body: with one of ``dataframe_split``, ``dataframe_records``, ``instances``, ``inputs``.
        schema: the model's, whose order counts where values have no names.

    Raises:
        InvalidInputError: says which part is not as the protocol has it.

    Example:
        >>> from windtunnel.lifecycle.model.bundle import Input
        >>> schema = Schema([Input("a", "float64", "float64"), Input("b", "string", "str")])
        >>> batch_of({"dataframe_split": {"columns": ["b", "a"], "data": [["x", 1]]}}, schema).rows()
        [{'b': 'x', 'a': 1}]
        >>> batch_of({"inputs": {"a": [1, 2], "b": ["x", "y"]}}, schema).rows()
        [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'y'}]
    """
    forms = [name for name in _FORMS if isinstance(body, dict) and name in body]
    if len(forms) != 1:
        raise _bad("body", f"must have one of {', '.join(_FORMS)} but has {', '.join(forms) or 'none of them'}")
    batch = _FORMS[forms[0]](forms[0], body[forms[0]], schema)
    if not batch.count:
        raise _bad(forms[0], "has no rows")
    return batch


def _split(form: str, value: object, schema: Schema) -> Batch:
    """Pandas' own form: columns and data apart."""
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise _bad(form, 'must be an object such as {"columns": [...], "data": [[...]]}')
    names = value.get("columns", list(schema.names))
    if not _are_names(names):
        raise _bad(f"{form}.columns", "must be a list of different texts")
    _check_index(form, value.get("index"), len(value["data"]))
    for place, row in enumerate(value["data"]):
        if not isinstance(row, list) or len(row) != len(names):
            raise invalid([{"row": place, "field": form, "message": f"must be a list of {len(names)} values, one a column"}])
    return Named(dict(zip(names, map(list, zip(*value["data"], strict=True)), strict=True)) if value["data"] else {})


def _check_index(form: str, index: object, count: int) -> None:
    """Of an index only its length says something: whether it is of these rows."""
    if index is not None and (not isinstance(index, list) or len(index) != count):
        raise _bad(f"{form}.index", f"must be a list of {count} names, one a row, or be left out")


def _are_names(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)


def _records(form: str, value: Any, schema: Schema) -> Batch:
    """One object, or one list in the order of the inputs, a row; a plain value where the model has one input."""
    if not isinstance(value, list):
        raise _bad(form, "must be a list of rows")
    if all(type(row) is dict for row in value):
        return Rows(value)
    if len(schema.names) == 1:
        value = [row if isinstance(row, list) else [row] for row in value]
    return from_matrix(schema, value, form)


def _columnar(form: str, value: object, schema: Schema) -> Batch:
    """Lists by column name, or rows."""
    if not isinstance(value, dict):
        return _records(form, value, schema)
    for name, column in value.items():
        if not isinstance(column, list):
            raise _bad(f"{form}.{name}", "must be a list of values")
    if len({len(column) for column in value.values()}) > 1:
        raise _bad(form, "has columns of different lengths: all must be as long")
    return Named({name: [entry[0] if isinstance(entry, list) and len(entry) == 1 else entry for entry in column]
                  for name, column in value.items()})  # fmt: skip


_FORMS: Mapping[str, Callable[[str, object, Schema], Batch]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _records,
    "inputs": _columnar,
}


def plain(answer: Answer) -> list[Any]:
    """What the pipeline's own ``predict`` would say: one value a row, class names in the type of the label."""
    bundle = answer.engine.bundle
    if bundle.task == "regression" or bundle.label_type:
        return [row["prediction"] for row in answer.rows]
    names = labels_of(bundle)
    return [names.get(row["prediction"], row["prediction"]) for row in answer.rows]


def labels_of(bundle: Bundle) -> dict[str, object]:
    """Class name -> the class as a bundle of before `Bundle.label_type` lets one guess: names that are all whole numbers are numbers.

    Example:
        >>> labels_of(Bundle("p", "binary", ["0", "1"], 0.5, [], "y", "2013"))
        {'0': 0, '1': 1}
        >>> labels_of(Bundle("p", "binary", ["no", "1"], 0.5, [], "y", "2013"))
        {'no': 'no', '1': '1'}
    """
    names = bundle.classes or ["0", "1"]
    values = {name: _value(name) for name in names}
    kinds = {type(value) for value in values.values()}
    return values if len(kinds) == 1 else {name: name for name in names}


def _value(name: str) -> Any:
    """A class name as the value whose text it is."""
    if name in {"True", "False"}:
        return name == "True"
    try:
        value = json.loads(name)
    except ValueError:
        return name
    return value if isinstance(value, int | float) and repr(value) == name else name


def _csv(ask: Ask, service: Service) -> Batch:
    batch = from_csv(schema_of(ask, service), ask.body, MAX_ROWS)
    if not batch.count:
        raise _bad("body", "has no rows")
    return batch


def _bad(field: str, text: str) -> InvalidInputError:
    return invalid([{"row": 0, "field": field, "message": text}])
