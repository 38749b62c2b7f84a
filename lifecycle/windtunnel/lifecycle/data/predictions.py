"""The columns of ``<problem>.predictions``: what is kept of an answer, whoever gave it, and what the model server's log adds to it."""

import pyarrow as pa

__all__ = ["LOGGED", "PREDICTION"]

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

LOGGED = pa.schema([*PREDICTION, pa.field("seconds", pa.float64()), pa.field("inputs", pa.string())])
"""What the server's log has: ``inputs`` is the row as it was sent, as JSON, without redacted columns; keys that the model does not use
are in it too, and the truth is joined by them."""
