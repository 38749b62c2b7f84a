"""What a problem file's fields must be to each other: what the file alone decides, beyond the shape of each field.

`CONSISTENT` holds for every problem, stored ones too. `faults` looks for all: for a file that somebody writes today. What needs imports is
`windtunnel.lifecycle.learning.check`'s.
"""

from typing import TYPE_CHECKING

from windtunnel.lifecycle.contract.problem.sense import columns, judging, learning, serving, time
from windtunnel.lifecycle.contract.problem.sense.fault import Fault, Rule
from windtunnel.lifecycle.contract.problem.sense.serving import RESERVED

if TYPE_CHECKING:
    from windtunnel.lifecycle.contract.problem.problem import Problem

__all__ = ["RESERVED", "Fault", "contradictions", "faults"]

_WINGS = (columns, time, learning, judging, serving)
CONSISTENT: list[Rule] = [rule for wing in _WINGS for rule in wing.CONSISTENT]
SENSE: list[Rule] = [rule for wing in _WINGS for rule in wing.SENSE]


def contradictions(problem: "Problem") -> list[Fault]:
    """What no stage could work with."""
    return [fault for rule in CONSISTENT for fault in rule(problem)]


def faults(problem: "Problem") -> list[Fault]:
    """Everything that makes no sense."""
    return [fault for rule in [*CONSISTENT, *SENSE] for fault in rule(problem)]
