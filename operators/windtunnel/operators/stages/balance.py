"""Balance: what is done about unbalanced classes, by the problem's rule or by a person."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import ValidationRef
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.operators.asking import AskingOperator
from windtunnel.operators.base import problem_of, run_of

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["BalanceOperator"]

_TITLES = {
    "none": "Go on as it is",
    "weights": "Class weights in the loss",
    "downsample": "The same number of each class",
}


class BalanceOperator(AskingOperator):
    """Choose a remedy for unbalanced classes: the problem's own, or, where its ``model.class_balance`` is ``ask``, a person's.

    A person is asked only if a class is rarer than ``model.ask_below``. A backfill never waits, and when nobody answers in time
    ``model.unanswered`` is done. The choice is handed to tuning and training, which keep it with the model.

    Args:
        problem: a problem, or the path of its file.
        validation: the validation reference (``validate.output``), which has the classes' numbers.
        **kwargs: what `HITLOperator` takes, such as notifiers.
    """

    stage = "balance"
    template_fields = ("subject", "body")

    def __init__(self, *, problem: Problem | JsonMapping | str | Path, validation: Any, **kwargs: object) -> None:
        problem = problem_of(problem)
        kwargs.setdefault("subject", f"The classes of {problem.title or problem.name} are unbalanced: what shall be done?")
        kwargs.setdefault("options", list(_TITLES.values()))
        kwargs.setdefault("defaults", [_TITLES[problem.model.unanswered]])
        super().__init__(problem=problem, **kwargs)
        self.validation = validation

    def execute(self, context: "Context") -> Any:
        """Choose, or ask."""
        work = self.begin(context)
        validation = ValidationRef.from_dict(self.validation)
        self.show(validation.docs)
        ruled = self._ruled(context, validation.labels)
        if ruled is not None:
            return self.record(context, work, remedy=ruled[0], by="the problem's rule", reason=ruled[1])
        return self.ask(context, self._question(validation.labels))

    def execute_complete(self, context: "Context", event: JsonObject) -> object:
        """Take the answer."""
        if "error" in event:
            return super().execute_complete(context, event)
        self.show(ValidationRef.from_dict(self.validation).docs)
        title, by = event["chosen_options"][0], self.person(event)
        reason = "chosen in Airflow" if by else f"by default: no answer within {self.response_timeout}"
        remedy = next(name for name, said in _TITLES.items() if said == title)
        answer = self.record(context, self.begin(context), remedy=remedy, by=by or "nobody", reason=reason)
        super().execute_complete(context, event)
        return answer

    def _ruled(self, context: "Context", labels: Mapping[str, int]) -> tuple[str, str] | None:
        """The remedy and the reason where nobody is asked; None where a person chooses."""
        from windtunnel.lifecycle.quality.balance import shares

        model = self.problem.model
        if model.class_balance != "ask":
            return model.class_balance, f"model.class_balance is {model.class_balance}"
        rarest = min(shares(labels).values(), default=1.0)
        if rarest >= model.ask_below:
            return "none", f"the rarest class has {rarest:.1%}: no less than model.ask_below"
        if run_of(context).run_type == "backfill":
            return model.unanswered, "nobody is asked in a backfill"
        return None

    def _question(self, labels: Mapping[str, int]) -> str:
        from windtunnel.lifecycle.quality.balance import remedies, shares

        counts = "\n".join(f"- class {name}: {count:,} rows ({shares(labels)[name]:.1%})" for name, count in sorted(labels.items()))
        effects = "\n".join(f"- **{_TITLES[remedy.name]}**: {remedy.effect}" for remedy in remedies(labels))
        return f"{counts}\n\nWhat each choice would do:\n\n{effects}\n\n[The data]({self.link})"
