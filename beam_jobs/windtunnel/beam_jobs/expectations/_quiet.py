"""Great Expectations, imported quietly: no telemetry, no hundreds of log lines about its own documentation, no warnings of its imports."""

import logging
import os
import warnings

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
logging.getLogger("great_expectations._docs_decorators").setLevel(logging.WARNING)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import great_expectations

__all__ = ["great_expectations"]
