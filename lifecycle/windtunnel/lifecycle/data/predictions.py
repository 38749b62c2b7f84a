"""The columns of ``<problem>.predictions``: what is kept of an answer, whoever gave it, and what the model server's log adds to it."""

import pyarrow as pa

__all__ = ["LOGGED", "PREDICTION", "answers_of"]

_DAY = "event_date"  # `windtunnel.lifecycle.data.rows.DAY`; that module needs pandas, which a server's supervisor does not

PREDICTION = pa.schema(
    [
        pa.field(_DAY, pa.date32()),
        pa.field("predicted_at", pa.timestamp("us", tz="UTC")),
        pa.field("request_id", pa.string()),
        pa.field("row", pa.int32()),
        pa.field("model", pa.string()),
        pa.field("version", pa.string()),
        pa.field("route", pa.string()),
        pa.field("shadow", pa.bool_()),
        pa.field("prediction", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("probabilities", pa.string()),
        pa.field("decision", pa.string()),
    ]
)
"""What every answer has.

``event_date`` is the UTC day of the answer (of a batch job: of the row); ``prediction`` the class (of a regression the number as text);
``value`` the score (of a regression the number); ``probabilities`` a JSON list, in the order of the classes.
"""


def answers_of(task: str, rows: pa.Table) -> pa.ChunkedArray:
    """What was answered to each row, in the form in which its truth is kept: a number, a class, or for yes and no 1 and 0.

    Example:
        >>> answers_of("binary", pa.table({"prediction": ["1", "0"], "value": [0.7, 0.2]})).to_pylist()
        [1, 0]
    """
    import pyarrow.compute as pc  # a server's supervisor needs none of it

    answers = rows["value"] if task == "regression" else rows["prediction"]
    return pc.equal(answers, "1").cast(pa.int8()) if task in {"binary", "anomaly"} else answers


LOGGED = pa.schema([*PREDICTION, pa.field("seconds", pa.float64()), pa.field("inputs", pa.string())])
"""What the server's log has: ``inputs`` is the row as it was sent, as JSON, without redacted columns; keys that the model does not use
are in it too, and the truth is joined by them."""
