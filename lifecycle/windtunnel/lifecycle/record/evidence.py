"""What an evaluation says that decisions rest on, read from where it was left."""

import json

from windtunnel.lifecycle.contract.errors import UnavailableError
from windtunnel.lifecycle.contract.references import EvaluationRef
from windtunnel.lifecycle.data.artifacts import read_text
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["hard_failures", "judged_against"]


def hard_failures(evaluation: EvaluationRef) -> list[str]:
    """The reasons of the hard gates that an evaluation did not meet: no approval overrules them.

    Raises:
        UnavailableError: the evaluation cannot be read.
    """
    gates = _read(evaluation).get("gates") or []
    return [str(gate["reason"]) for gate in gates if gate.get("hard") and not gate["passed"]]


def judged_against(evaluation: EvaluationRef) -> str:
    """The entry of the champion that an evaluation was made against; empty if there was none.

    Raises:
        UnavailableError: the evaluation cannot be read.
    """
    return str((_read(evaluation).get("champion") or {}).get("entry") or "")


def _read(evaluation: EvaluationRef) -> JsonObject:
    try:
        return dict(json.loads(read_text(f"{evaluation.uri}/evaluation.json")))
    except (OSError, json.JSONDecodeError) as error:
        raise UnavailableError(f"the evaluation at {evaluation.uri} cannot be read: {error}") from error
