"""What can go wrong, as one tree.

.. code-block:: text

    WindtunnelError
    ├── ConfigurationError        a setting or an option is wrong
    │   └── ProblemError          a problem file is wrong: says file, field and what is allowed
    ├── DataError                 the data is wrong; trying again cannot help
    │   ├── SourceFormatError     a source cannot be read as what it claims to be
    │   ├── SchemaMismatchError   columns or types differ from the pinned schema
    │   ├── EmptyWindowError      a window has no usable row
    │   ├── ExpiredError          what is asked for was removed by a rule of housekeeping
    │   ├── QuarantineLimitError  too large a share of rows does not fit
    │   └── ValidationFailedError a suite or a limit was not met
    ├── UnsupportedError          something is asked for that cannot be done so; the message says the ways out
    ├── GateError                 a model did not pass
    ├── IntegrityError            a digest, a chain or a replayed fingerprint differs
    ├── ConflictError             someone else decided first          (a retry can help)
    ├── UnavailableError          a server or a file is out of reach  (a retry can help)
    └── JobError                  a job ended without a result        (a retry can help)

Every error keeps its details as attributes, survives pickling, and knows by `retryable` whether the same call may succeed later: the
operators turn that into Airflow's retry policy.
"""

from typing import Any, ClassVar

__all__ = [
    "ConfigurationError",
    "ConflictError",
    "DataError",
    "EmptyWindowError",
    "ExpiredError",
    "GateError",
    "IntegrityError",
    "JobError",
    "ProblemError",
    "QuarantineLimitError",
    "SchemaMismatchError",
    "SourceFormatError",
    "UnavailableError",
    "UnsupportedError",
    "ValidationFailedError",
    "WindtunnelError",
]


class WindtunnelError(Exception):
    """The root of the tree.

    Args:
        message: what is wrong and where.
        hint: what a person can do about it.
        details: values worth keeping (a path, a column, a figure), as plain data.

    Example:
        >>> error = DataError("column 'age' is missing", hint="add it to the source", column="age")
        >>> print(error)
        column 'age' is missing
        Hint: add it to the source
        >>> error.details["column"], error.retryable
        ('age', False)
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", **details: Any) -> None:
        self.message = message
        self.hint = hint
        self.details = details
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message}\nHint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.details)


def _rebuild(kind: type[WindtunnelError], message: str, hint: str, details: dict[str, object]) -> WindtunnelError:
    return kind(message, hint=hint, **details)


class ConfigurationError(WindtunnelError):
    """A setting or an option is wrong."""


class ProblemError(ConfigurationError):
    """A problem file is wrong."""


class DataError(WindtunnelError):
    """The data is wrong; trying again cannot help."""


class SourceFormatError(DataError):
    """A source cannot be read as what it claims to be."""


class SchemaMismatchError(DataError):
    """Columns or types differ from the pinned schema."""


class EmptyWindowError(DataError):
    """A window has no usable row."""


class ExpiredError(DataError):
    """What is asked for was removed by a rule of housekeeping."""


class QuarantineLimitError(DataError):
    """Too large a share of rows does not fit the schema."""


class ValidationFailedError(DataError):
    """A suite or a limit was not met."""


class UnsupportedError(WindtunnelError):
    """Something is asked for that cannot be done in this way."""


class GateError(WindtunnelError):
    """A model did not pass a gate."""


class IntegrityError(WindtunnelError):
    """A digest, a chain or a replayed fingerprint differs."""


class ConflictError(WindtunnelError):
    """Someone else decided first; deciding anew can help."""

    retryable = True


class UnavailableError(WindtunnelError):
    """A server or a file is out of reach for now."""

    retryable = True


class JobError(WindtunnelError):
    """A job ended without a result."""

    retryable = True
