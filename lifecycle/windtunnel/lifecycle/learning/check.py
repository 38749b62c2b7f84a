"""What a problem names outside of its file: estimators, transformers, functions, notifiers, its suite, its data.

What the file alone decides is refused where it is read (`windtunnel.lifecycle.contract.problem.sense`). What needs imports is looked at
here: by ``windtunnel check``, and in the first seconds of ingest, before anything is computed.
"""

import datetime as dt
from collections.abc import Callable, Iterator

from windtunnel.lifecycle.contract.errors import ConfigurationError, ProblemError, WindtunnelError
from windtunnel.lifecycle.contract.naming import imported
from windtunnel.lifecycle.contract.problem import Alert, Problem
from windtunnel.lifecycle.contract.problem.sense import Fault
from windtunnel.lifecycle.contract.seams.notifiers import notifier_path
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.sources import plan, read
from windtunnel.lifecycle.learning import scikit
from windtunnel.lifecycle.learning.estimators import estimator
from windtunnel.lifecycle.learning.transformers import transformer_of
from windtunnel.lifecycle.quality.suites import of_problem

__all__ = ["data_faults", "import_faults", "learning_faults", "need_learning"]

_DAY = dt.timedelta(days=1)


def need_learning(problem: Problem) -> None:
    """Stop at once where a later stage could only fail.

    Raises:
        ProblemError: names every field.
    """
    wrong = list(learning_faults(problem))
    if wrong:
        raise ProblemError(
            f"problem {problem.name}: " + "; ".join(str(fault) for fault in wrong),
            hint="`windtunnel check PROBLEM.yaml` looks for all that could be wrong",
            fields=[fault.field for fault in wrong],
        )


def import_faults(problem: Problem) -> list[Fault]:
    """Everything that is wrong with what a problem names by import, its suite included."""
    return [*learning_faults(problem), *_notifiers(problem), *_refusals("suite", lambda: of_problem(problem))]


def learning_faults(problem: Problem) -> Iterator[Fault]:
    """What preprocess, tune, train and evaluate could not use."""
    yield from _refusals("features.transformer", lambda: transformer_of(problem))
    yield from _estimator(problem)
    functions = {
        "kpi.function": problem.kpi.function if problem.kpi else None,
        "serving.reward": problem.serving.reward,
        "source.generator": problem.source.generator,
    }
    for field, name in functions.items():
        if name is not None:
            yield from _refusals(field, lambda name=name, field=field: _function(name, field, problem.directory))  # type: ignore[misc] # mypy infers no default


def _function(name: str, field: str, directory: str) -> None:
    function = imported(name, field, directory)
    if not callable(function):
        raise ConfigurationError(f"{name!r} is a {type(function).__name__}, not a function")


def _estimator(problem: Problem) -> Iterator[Fault]:
    """The estimator with the problem's own parameters, then with each choice of each part of the search alone."""
    alone = list(_refusals("model.estimator" if problem.model.estimator else "model.parameters", lambda: _made(problem, {})))
    yield from alone
    if alone:
        return
    for name, space in problem.model.search.items():
        choices = space if isinstance(space, list) else [space["low"], space["high"]]
        for choice in choices:
            wrong = list(_refusals(f"model.search.{name}", lambda choice=choice, name=name: _made(problem, {name: choice})))  # type: ignore[misc] # mypy infers no default
            yield from wrong[:1]  # one fault a choice, and one choice a parameter, say enough
            if wrong:
                break


def _made(problem: Problem, parameters: dict[str, object]) -> None:
    """An estimator, whose values scikit-learn's own rules allow.

    Raises:
        ConfigurationError: it cannot be made, or a value is none that it takes.
    """
    own = estimator(problem, parameters)
    try:
        scikit.check_parameters(own)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _notifiers(problem: Problem) -> Iterator[Fault]:
    for field, alerts in (("alerts", problem.alerts), ("approval.notifiers", problem.approval.notifiers)):
        for place, alert in enumerate(alerts):
            yield from _refusals(f"{field}.{place}.notifier", lambda alert=alert: _notifier(alert))  # type: ignore[misc] # mypy infers no default


def _notifier(alert: Alert) -> None:
    module, _, name = notifier_path(alert.notifier).rpartition(".")
    kind = imported(f"{module}:{name}", "it")
    try:
        kind(**alert.options)
    except TypeError as error:
        raise ConfigurationError(f"{alert.notifier} does not take these options: {error}") from error


def data_faults(problem: Problem, settings: Settings, today: dt.date | None = None) -> list[Fault]:
    """What is wrong with the newest rows, as far as the first of them show it.

    Args:
        problem: says where they are.
        settings: say where ``{landing}`` is.
        today: the day after the newest; by default today, or the end of a closed history.
    """
    end = problem.windows.history_end or today or dt.datetime.now(tz=dt.UTC).date()
    window = Window(end - _DAY * problem.windows.train_days, end)
    return list(_refusals("source", lambda: _first_rows(problem, window, settings)))


def _first_rows(problem: Problem, window: Window, settings: Settings) -> None:
    units = plan(problem, window, settings)
    if not units:
        raise ConfigurationError(f"has nothing between {window.start} and {window.end}", hint="is source.path right?")
    chunk = next(iter(read(problem, units[-1].pieces[0], settings)), None)
    if chunk is None or not chunk.rows:
        raise ConfigurationError(f"{units[-1].pieces[0].path} has no row")
    if chunk.rejected and not chunk.batch.num_rows:
        first, path = chunk.rejected[0], units[-1].pieces[0].path
        why = f"line {first.line}, column {first.column!r}: {first.reason}"
        raise ConfigurationError(f"none of the first {chunk.rows:,} rows of {path} fits: {why}")


def _refusals(field: str, tried: Callable[[], object]) -> Iterator[Fault]:
    try:
        tried()
    except WindtunnelError as error:
        hint = f" ({error.hint})" if error.hint else ""
        yield Fault(field, f"{error.message}{hint}")
    except Exception as error:  # noqa: BLE001 - a team's own function may raise anything
        yield Fault(field, f"raised {type(error).__name__}: {error}")
